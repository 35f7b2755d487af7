//! The sender to a webhook: one that does as a script says, and the verification of Standard Webhooks in Python.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ecom_shop_notifier::confirmation::Confirmation;
use ecom_shop_notifier::sender::{SendError, Sender};
use ecom_shop_notifier::settings::NotifierSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::orders::{NOW, confirmation, order};
use super::python::Peer;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as it arrived.
type Request = (Vec<(String, String)>, String);

/// Starts a server that answers each request with this status line and headers, and keeps it.
async fn server(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let request = loop {
                let mut part = [0; 4_096];
                let read = stream.read(&mut part).await.unwrap();
                bytes.extend_from_slice(&part[..read]);
                let text = String::from_utf8_lossy(&bytes);
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let headers: Vec<(String, String)> = head
                        .lines()
                        .skip(1)
                        .map(|line| line.split_once(": ").unwrap())
                        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                        .collect();
                    let length = &headers.iter().find(|(name, _)| name == "content-length").unwrap().1;
                    if body.len() == length.parse::<usize>().unwrap() {
                        break (headers, body.to_owned());
                    }
                }
            };
            kept.lock().unwrap().push(request);
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwhy?");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, requests)
}

fn sender(address: SocketAddr) -> Arc<dyn Sender> {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let settings = serde_json::json!({
        "channel": "webhook", "from": "", "folder": "", "timeout": "30s", "concurrency": 4,
        "smtp": {"host": "", "port": 0, "tls": "starttls", "ca_file": "", "credentials_file": ""},
        "webhook": {"url": format!("http://{address}/orders"), "secret_file": secret},
    });
    serde_json::from_value::<NotifierSettings>(settings).unwrap().sender(None).unwrap()
}

#[tokio::test]
async fn each_status_is_retried_or_final() {
    let order = order(1);
    for (answer, is_final, says) in [
        ("500 Internal Server Error", false, "500 Internal Server Error why?"),
        ("503 Service Unavailable", false, "503"),
        ("429 Too Many Requests", false, "429"),
        ("408 Request Timeout", false, "408"),
        ("301 Moved Permanently\r\nlocation: http://127.0.0.1:1/", false, "redirects are not followed"),
        ("400 Bad Request", true, "400"),
        ("404 Not Found", true, "404"),
        ("410 Gone", true, "shop.notifier.webhook.url must name another one"),
    ] {
        let (address, requests) = server(answer).await;
        let error = sender(address).send(&confirmation(&order)).await.unwrap_err();
        assert_eq!(matches!(error, SendError::Permanent(_)), is_final, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(requests.lock().unwrap().len(), 1);
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = sender(gone).send(&confirmation(&order)).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn a_request_has_the_order_as_the_api_shows_it_and_one_id_over_all_attempts() {
    let (address, requests) = server("204 No Content").await;
    let (sender, order) = (sender(address), order(1));
    sender.send(&confirmation(&order)).await.unwrap();
    sender.send(&Confirmation { at: NOW + 5_000_000, ..confirmation(&order) }).await.unwrap();
    sender.send(&Confirmation { again_after: Some(NOW), ..confirmation(&order) }).await.unwrap();
    let requests = requests.lock().unwrap();
    let ids: Vec<&str> = requests
        .iter()
        .map(|(headers, _)| headers.iter().find(|(name, _)| name == "webhook-id").unwrap().1.as_str())
        .collect();
    let id = format!("{}-confirmed", order.order_id);
    assert_eq!(ids, [id.as_str(), id.as_str(), format!("{id}-{NOW}").as_str()]);
    let expected = format!(
        concat!(
            r#"{{"type":"order.confirmed","timestamp":"2025-06-15T15:06:40.000007Z","data":{{"order_id":{},"#,
            r#""number":"{}","customer_id":7,"total":2007.99,"currency":"USD","lines":["#,
            r#"{{"item":"Laptop","sku":null,"quantity":2,"unit_price":999.00}},"#,
            r#"{{"item":"Mouse","sku":null,"quantity":1,"unit_price":null}}],"email":"ada@example.com"}}}}"#
        ),
        order.order_id,
        confirmation(&order).number(),
    );
    assert_eq!(requests[0].1, expected);
}

/// Verifies requests; prints the payload, or the error.
const VERIFIER: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook
webhook = Webhook(sys.argv[1])
for line in sys.stdin:
    request = json.loads(line)
    try:
        print(json.dumps(webhook.verify(request['body'], request['headers'])))
    except Exception as error:
        print(json.dumps({'error': str(error)}))
";

#[tokio::test]
async fn an_implementation_of_others_verifies_the_signature() {
    let Some(mut verifier) = Peer::start(VERIFIER, &[SECRET]) else { return };
    let (address, requests) = server("200 OK").await;
    let mut order = order(1);
    order.document.lines[0].item = "Läptop 🐭 \"x\"\r\n".into();
    // It is verified at once, by the clock of this host.
    let at = ecom_clock::Clock::System.now_us();
    sender(address).send(&Confirmation { at, ..confirmation(&order) }).await.unwrap();
    let (headers, body) = requests.lock().unwrap()[0].clone();
    let headers: serde_json::Value = headers.into_iter().collect();
    let mut verify = |body: &str| {
        verifier.tell(&serde_json::json!({"headers": headers, "body": body}).to_string());
        verifier.says()
    };
    let verified = verify(&body);
    assert_eq!(verified["data"]["order_id"], order.order_id.0, "{verified}");
    assert_eq!(verified["data"]["lines"][0]["item"], order.document.lines[0].item);
    let changed = verify(&body.replace("2007.99", "0.01"));
    assert!(changed["error"].is_string(), "{changed}");
}
