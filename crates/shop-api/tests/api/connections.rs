//! The server on real sockets: slow, broken and hostile clients, and the stop.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::world::{Fault, World, prepaid, settings};
use ecom_shop_api::auth::Keys;
use ecom_shop_api::{ApiSettings, Server};

/// Longer than anything here may take.
const SOON: Duration = Duration::from_secs(15);

struct Served {
    world: World,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn serve(settings: &ApiSettings) -> Served {
    let world = World::new(Keys::NotRequired, settings).await;
    let server = Server::bind(&settings.listen).await.unwrap();
    let (address, stop) = (server.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(server.serve(world.api.clone(), stop.clone()));
    Served { world, address, stop, serving }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of their own, and returns what comes back before it is closed.
    async fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that refuses what it has read so far may close before it has read the rest.
        let _ = stream.write_all(bytes).await;
        read_to_end(&mut stream).await
    }

    async fn is_alive(&self) -> bool {
        let began = Instant::now();
        let answer = self.send(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        answer.starts_with("HTTP/1.1 200 OK\r\n") && began.elapsed() < Duration::from_secs(2)
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection stays open after {:?}", String::from_utf8_lossy(&bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

fn post(body: &str, headers: &str) -> String {
    let length = body.len();
    format!(
        "POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn clients_that_send_slowly_are_cut_off_after_ten_seconds() {
    let served = serve(&settings()).await;
    let body = prepaid().to_string();
    let whole = post(&body, "");
    let (headers, _) = whole.split_at(whole.len() - body.len());
    let lasts = async |first: &str| {
        let (mut reader, mut writer) = served.connect().await.into_split();
        writer.write_all(first.as_bytes()).await.unwrap();
        let began = Instant::now();
        let drip = async {
            while writer.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            biased;
            read = timeout(SOON, reader.read_to_end(&mut answer)) => { read.expect("it is cut off").ok(); }
            () = drip => {}
        }
        (began.elapsed().as_secs_f64(), String::from_utf8_lossy(&answer).into_owned())
    };
    let idle = async {
        let mut stream = served.connect().await;
        let began = Instant::now();
        (began, read_to_end(&mut stream).await).0.elapsed().as_secs_f64()
    };
    let (in_line, in_header, in_body, idle) =
        tokio::join!(lasts("GET /liv"), lasts("GET /livez HTTP/1.1\r\nhost: "), lasts(headers), idle);
    for (what, seconds) in
        [("line", in_line.0), ("header", in_header.0), ("body", in_body.0), ("nothing", idle)]
    {
        assert!((9.5..13.0).contains(&seconds), "{what}: cut off after {seconds} s");
    }
    assert_eq!(status(&in_body.1), 408, "{}", in_body.1);
    assert!(served.is_alive().await);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_cut_off_and_a_slow_one_is_not() {
    const REQUESTS: usize = 1_000;
    let served = serve(&settings()).await;
    let request = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /openapi.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let requests = request.repeat(REQUESTS - 1) + last;
    // More than the buffers of both sides hold.
    assert!(REQUESTS * served.send(last.as_bytes()).await.len() > 32 * 1024 * 1024);
    let answers_after = async |pauses: &[u64]| {
        let mut stream = served.connect().await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        for seconds in pauses {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            let mut some = vec![0; 8 * 1024 * 1024];
            if stream.read_exact(&mut some).await.is_ok() {
                answers.extend(some);
            }
        }
        // A connection that is cut off may be reset.
        let _ = timeout(SOON, stream.read_to_end(&mut answers)).await.unwrap();
        answers.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count()
    };
    let (never, slow) = tokio::join!(answers_after(&[12]), answers_after(&[6, 6]));
    assert!(never < REQUESTS, "all answers were kept for it");
    assert_eq!(slow, REQUESTS);
    assert!(served.is_alive().await);
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() {
    let served = serve(&settings()).await;
    let request =
        |headers: String| format!("GET /livez HTTP/1.1\r\nconnection: close\r\n{headers}\r\n").into_bytes();
    let many = |count: usize| request((0..count).map(|n| format!("x-{n}: 1\r\n")).collect());
    assert_eq!(status(&served.send(&many(90)).await), 200);
    assert_eq!(status(&served.send(&many(200)).await), 431);
    let long = |length: usize| request(format!("x: {}\r\n", "y".repeat(length)));
    assert_eq!(status(&served.send(&long(16 * 1024)).await), 200);
    for length in [64 * 1024, 1024 * 1024] {
        let answer = served.send(&long(length)).await;
        // The rest of the headers, unread, may reset the connection before the answer is read.
        assert!(answer.is_empty() || status(&answer) == 431, "{answer}");
    }
    let line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1024 * 1024));
    let answer = served.send(line.as_bytes()).await;
    assert!(answer.is_empty() || matches!(status(&answer), 414 | 431), "{answer}");
    assert!(served.is_alive().await);
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_harms_nobody() {
    let served = serve(&settings()).await;
    let body = prepaid().to_string();
    for (bytes, expected) in [
        ("\r\n\r\n\r\n".to_owned(), 0..600),
        ("garbage\r\n\r\n".to_owned(), 400..401),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned(), 400..401),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 0..506),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400..506),
        ("GET /livez HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400..401),
        ("GET /livez HTTP/1.1\r\nx: a\0b\r\n\r\n".to_owned(), 400..401),
        ("CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), 400..406),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 400..406),
        ("GET http://x/livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 200..201),
        ("GET //livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), 400..405),
        (post(&body, "content-length: 1\r\nconnection: close\r\n"), 400..401),
        (post(&body, "transfer-encoding: chunked\r\nconnection: close\r\n"), 400..401),
        ("POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: -1\r\n\r\n".to_owned(), 400..401),
        ("POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{".to_owned(), 400..414),
        ("POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{".to_owned(), 400..401),
    ] {
        let mut stream = served.connect().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(expected.contains(&status(&answer)), "{bytes:?}: {answer}");
    }
    assert_eq!(served.world.records(), 0);
    assert!(served.is_alive().await);
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_one_after_the_other() {
    let served = serve(&settings()).await;
    let mut stream = served.connect().await;
    let body = prepaid().to_string();
    let expecting = post(&body, "expect: 100-continue\r\nidempotency-key: k\r\n");
    let last = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let pipelined = format!("GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n{expecting}{last}");
    stream.write_all(pipelined.as_bytes()).await.unwrap();
    let answers = read_to_end(&mut stream).await;
    let statuses: Vec<u16> =
        answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect();
    assert!(matches!(statuses.as_slice(), [404, 201, 200] | [404, 100, 201, 200]), "{answers}");
}

#[tokio::test]
async fn clients_that_hang_up_take_no_place_and_break_nothing() {
    let served = serve(&ApiSettings { max_in_flight: 20, ..settings() }).await;
    let body = prepaid().to_string();
    served.world.script.of("create an order", Fault::Slow);
    for cut in [1, 30, 100, 1_000] {
        join_all((0..20).map(|n| {
            let served = &served;
            let request = post(&body, &format!("idempotency-key: {cut}-{n}\r\n"));
            async move {
                let mut stream = served.connect().await;
                stream.write_all(&request.as_bytes()[..cut.min(request.len())]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
        .await;
    }
    served.world.script.heal();
    let deadline = Instant::now() + SOON;
    let list = b"GET /api/v1/orders HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    loop {
        let answers = join_all((0..15).map(|_| served.send(list))).await;
        if answers.iter().all(|answer| status(answer) == 200) {
            break;
        }
        assert!(Instant::now() < deadline, "the places of those that hung up are not free: {answers:?}");
    }
    // Whoever repeats a request that was cut off has one order.
    for n in 0..20 {
        let repeated = post(&body, &format!("connection: close\r\nidempotency-key: 1000-{n}\r\n"));
        assert_eq!(status(&served.send(repeated.as_bytes()).await), 201);
    }
    assert_eq!(served.world.records(), 20);
}

#[tokio::test]
async fn two_thousand_idle_connections_do_not_keep_others_out() {
    let served = serve(&settings()).await;
    let idle: Vec<_> = join_all((0..2_000).map(|_| served.connect())).await;
    for _ in 0..20 {
        assert!(served.is_alive().await);
    }
    drop(idle);
    assert!(served.is_alive().await);
}

#[tokio::test]
async fn a_stop_answers_what_has_begun_and_takes_no_more() {
    let served = serve(&settings()).await;
    served.world.script.of("create an order", Fault::Slow);
    let mut idle = served.connect().await;
    let body = prepaid().to_string();
    let request = post(&body, "idempotency-key: k\r\n");
    let stopping = async {
        while served.world.script.take_calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served.stop.cancel();
        timeout(SOON, served.serving).await.unwrap().unwrap();
        assert_eq!(served.world.records(), 1, "it ends when everything is answered");
    };
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let (answer, ()) = tokio::join!(read_to_end(&mut stream), stopping);
    assert_eq!(status(&answer), 201, "{answer}");
    assert_eq!(read_to_end(&mut idle).await, "", "a connection without a request is closed");
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens");
}
