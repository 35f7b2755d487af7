//! A relay that delays: every byte leaves it a fixed time after it came, in its order, at any rate.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::try_join;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::Outcome;

/// Bytes taken at once.
const CHUNK: usize = 64 * 1024;
/// Bytes on their way in one direction; beyond it the sender waits.
const BYTES_ON_THE_WAY: usize = 16 * 1024 * 1024;
/// Chunks on their way in one direction, which bounds memory where they are small.
const CHUNKS_ON_THE_WAY: usize = 16 * 1024;

/// A delay in words such as `50ms`.
pub fn delay(words: &str) -> Outcome<Duration> {
    let millis = words.strip_suffix("ms").and_then(|number| number.parse().ok());
    millis.map(Duration::from_millis).ok_or_else(|| format!("no delay in ms: {words}").into())
}

/// Relays connections made to `listen` until it is ended, and says first where it listens.
pub async fn relay(listen: &str, to: &str, delay: Duration) -> Outcome<()> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        match TcpStream::connect(to).await {
            Ok(server) => {
                // A connection that breaks does so for both sides, which know what it means to them.
                tokio::spawn(async move {
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    both_ways(client, server, delay).await
                });
            }
            Err(error) => eprintln!("could not connect to {to}: {error}"),
        }
    }
}

/// Passes on what either side sends until both have ended; a side that breaks ends both.
async fn both_ways<C, S>(client: C, server: S, delay: Duration) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    try_join(pass(from_client, to_server, delay), pass(from_server, to_client, delay)).await.map(drop)
}

/// What came at one time; empty: the sender has ended.
struct Chunk {
    due: Instant,
    bytes: Bytes,
}

/// One direction, to its end.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut chunks: VecDeque<Chunk> = VecDeque::new();
    let (mut on_the_way, mut ended) = (0, false);
    loop {
        let has_room = on_the_way < BYTES_ON_THE_WAY && chunks.len() < CHUNKS_ON_THE_WAY;
        let first = chunks.front();
        let is_waiting = first.is_some();
        tokio::select! {
            biased;
            written = write_when_due(first, &mut to), if is_waiting => {
                let written = written?;
                on_the_way -= written;
                if let Some(first) = chunks.front_mut() {
                    if first.bytes.is_empty() {
                        return to.shutdown().await;
                    }
                    first.bytes.advance(written);
                    if first.bytes.is_empty() {
                        chunks.pop_front();
                    }
                }
            }
            read = from.read(&mut buffer), if has_room && !ended => {
                let read = read?;
                (on_the_way, ended) = (on_the_way + read, read == 0);
                let bytes = Bytes::copy_from_slice(&buffer[..read]);
                chunks.push_back(Chunk { due: Instant::now() + delay, bytes });
            }
        }
    }
}

/// Writes some of a chunk once it is due. Nothing is lost where this is given up halfway.
async fn write_when_due(first: Option<&Chunk>, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
    let Some(Chunk { due, bytes }) = first else { return Ok(0) };
    sleep_until(*due).await;
    if bytes.is_empty() {
        return Ok(0);
    }
    match to.write(bytes).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    const DELAY: Duration = Duration::from_millis(50);
    /// Timers of tokio have this resolution.
    const TICK: Duration = Duration::from_millis(2);

    /// A client and a server with the relay between them, each with a buffer of this many bytes.
    fn relayed(buffer: usize) -> (DuplexStream, DuplexStream) {
        let (client, near) = duplex(buffer);
        let (far, server) = duplex(buffer);
        tokio::spawn(both_ways(near, far, DELAY));
        (client, server)
    }

    /// Lets the relay take what was sent.
    async fn taken() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_byte_arrives_the_delay_after_it_was_sent_in_both_directions() {
        let (mut client, mut server) = relayed(1_024);
        let start = Instant::now();
        client.write_all(b"one").await.unwrap();
        taken().await;
        advance(Duration::from_millis(20)).await;
        client.write_all(b"two").await.unwrap();
        let mut bytes = [0; 3];
        for (words, sent) in [(b"one", 0), (b"two", 20)] {
            server.read_exact(&mut bytes).await.unwrap();
            let late = start.elapsed() - Duration::from_millis(sent);
            assert_eq!(&bytes, words);
            assert!(late >= DELAY && late <= DELAY + TICK, "{late:?}");
        }
        let back = Instant::now();
        server.write_all(b"yes").await.unwrap();
        client.read_exact(&mut bytes).await.unwrap();
        assert!(back.elapsed() >= DELAY && back.elapsed() <= DELAY + TICK, "{:?}", back.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn much_at_once_arrives_whole_in_order_and_no_later_than_little() {
        let (mut client, mut server) = relayed(8 << 20);
        let sent: Vec<u8> = (0..4 << 20).map(|n: u32| (n / 7) as u8).collect();
        let start = Instant::now();
        client.write_all(&sent).await.unwrap();
        let mut arrived = vec![0; sent.len()];
        server.read_exact(&mut arrived).await.unwrap();
        assert!(arrived == sent);
        assert!(start.elapsed() <= DELAY + TICK, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_to_somebody_who_does_not_read_is_held_up() {
        let (mut client, _server) = relayed(1_024);
        let mut sent = 0;
        while let Ok(written) = timeout(Duration::from_secs(10), client.write(&[0; 1_024])).await {
            sent += written.unwrap();
        }
        let bound = BYTES_ON_THE_WAY.min(CHUNKS_ON_THE_WAY * 1_024) + 3 * 1_024;
        assert!(sent > 1 << 20 && sent <= bound, "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_all_can_still_listen() {
        let (mut client, mut server) = relayed(1_024);
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let (mut question, mut answer) = (Vec::new(), Vec::new());
        server.read_to_end(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((&question[..], &answer[..]), (&b"question"[..], &b"answer"[..]));
    }

    #[test]
    fn a_delay_is_a_number_of_milliseconds() {
        assert_eq!(delay("50ms").unwrap(), DELAY);
        assert!(delay("50").is_err() && delay("xms").is_err());
    }
}
