//! The sender to a mail server: one that does as a script says, and Python's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecom_shop_notifier::sender::{SendError, Sender};
use ecom_shop_notifier::settings::NotifierSettings;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::orders::{confirmation, order};
use super::python::Peer;

/// The reaction of the server to a command, instead of answering that it is done.
#[derive(Clone, Copy)]
struct Twist {
    /// The beginning of the command; `.` is the end of the mail, and empty is the greeting.
    at: &'static str,
    /// The answer; `None` cuts the connection, and empty is silence.
    answer: Option<&'static str>,
}

/// A mail server of this process.
#[derive(Default)]
struct Server {
    mails: Mutex<Vec<String>>,
    connections: Mutex<u32>,
    /// Of the connections that are to come, the first ones with a twist each.
    twists: Mutex<Vec<Twist>>,
}

impl Server {
    async fn start(twists: &[Twist]) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self { twists: Mutex::new(twists.to_vec()), ..Self::default() });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        (server, address)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        *self.connections.lock().unwrap() += 1;
        let twist = {
            let mut twists = self.twists.lock().unwrap();
            (!twists.is_empty()).then(|| twists.remove(0))
        };
        let mut stream = BufReader::new(stream);
        let (mut mail, mut in_mail) = (String::new(), false);
        let mut line = String::new();
        loop {
            let command = if line.is_empty() { "" } else { line.trim_end() };
            if in_mail && command != "." {
                mail.push_str(&line);
            } else {
                let usual = match command {
                    "" => "220 here",
                    "DATA" => "354 go on",
                    "QUIT" => "221 bye",
                    _ => "250 done",
                };
                let answer = match twist {
                    Some(twist)
                        if command.starts_with(twist.at) && twist.at.is_empty() == command.is_empty() =>
                    {
                        twist.answer
                    }
                    _ => Some(usual),
                };
                match answer {
                    None => return,
                    Some("") => std::future::pending().await,
                    Some(answer) => stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap(),
                }
                if command == "." && answer == Some(usual) {
                    self.mails.lock().unwrap().push(std::mem::take(&mut mail));
                }
                in_mail = command == "DATA" && answer == Some(usual);
            }
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }
}

fn sender(host: &str, port: u16, changes: serde_json::Value) -> Arc<dyn Sender> {
    let mut smtp =
        serde_json::json!({"host": host, "port": port, "tls": "none", "ca_file": "", "credentials_file": ""});
    for (key, value) in changes.as_object().unwrap() {
        smtp[key] = value.clone();
    }
    let settings = serde_json::json!({
        "channel": "smtp", "from": "Shop <shop@example.com>", "folder": "", "timeout": "30s", "concurrency": 4, "smtp": smtp,
        "webhook": {"url": "", "secret_file": ""},
    });
    serde_json::from_value::<NotifierSettings>(settings).unwrap().sender(None).unwrap()
}

fn to(address: SocketAddr) -> Arc<dyn Sender> {
    sender("127.0.0.1", address.port(), serde_json::json!({}))
}

#[tokio::test]
async fn mails_are_sent_over_one_connection() {
    let (server, address) = Server::start(&[]).await;
    let sender = to(address);
    for n in 0..5 {
        sender.send(&confirmation(&order(n))).await.unwrap();
    }
    let mails = server.mails.lock().unwrap();
    assert_eq!((mails.len(), *server.connections.lock().unwrap()), (5, 1));
    for (n, mail) in (0..).zip(mails.iter()) {
        assert!(
            mail.contains(&format!("Message-ID: <{}.confirmed@example.com>", order(n).order_id)),
            "{mail}"
        );
    }
}

#[tokio::test]
async fn each_answer_is_retried_or_final_as_the_protocol_says() {
    let retried = [
        ("", "554 not now"),
        ("", "421 not now"),
        ("EHLO", "550 not you"),
        ("MAIL", "550 no such sender"),
        ("MAIL", "451 later"),
        ("RCPT", "451 4.7.1 greylisted"),
        ("RCPT", "530 log in first"),
        ("DATA", "452 full"),
        (".", "451 later"),
    ];
    let refused = [("RCPT", "550 5.1.1 no such user"), ("DATA", "554 no"), (".", "552 too much")];
    let order = order(1);
    for (is_final, cases) in [(false, &retried[..]), (true, &refused[..])] {
        for (at, answer) in cases {
            let (server, address) = Server::start(&[Twist { at, answer: Some(answer) }]).await;
            let sender = to(address);
            let error = sender.send(&confirmation(&order)).await.unwrap_err();
            assert_eq!(matches!(error, SendError::Permanent(_)), is_final, "{at}: {error}");
            assert!(error.to_string().contains(answer.split_once(' ').unwrap().1), "{at}: {error}");
            // The next one has a connection of its own.
            sender.send(&confirmation(&order)).await.unwrap();
            assert_eq!(server.mails.lock().unwrap().len(), 1, "{at} {answer}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_is_an_outage() {
    let order = order(1);
    for at in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let (server, address) = Server::start(&[Twist { at, answer: None }]).await;
        let sender = to(address);
        let error = sender.send(&confirmation(&order)).await.unwrap_err();
        assert!(error.is_retryable(), "{at}: {error}");
        sender.send(&confirmation(&order)).await.unwrap();
        assert_eq!(server.mails.lock().unwrap().len(), 1);
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = to(gone).send(&confirmation(&order)).await.unwrap_err();
    let expected = format!("could not connect to the mail server {gone}: ");
    assert!(error.is_retryable() && error.to_string().starts_with(&expected), "{error}");
}

/// An answer that comes late is not that of the next mail.
#[tokio::test]
async fn a_mail_that_was_given_up_leaves_no_connection_behind() {
    for at in ["MAIL", "RCPT", "DATA", "."] {
        let (server, address) = Server::start(&[Twist { at, answer: Some("") }]).await;
        let sender = to(address);
        let first = order(1);
        let given_up = confirmation(&first);
        let sending = tokio::time::timeout(Duration::from_millis(300), sender.send(&given_up));
        assert!(sending.await.is_err(), "{at}");
        sender.send(&confirmation(&order(2))).await.unwrap();
        assert_eq!(*server.connections.lock().unwrap(), 2, "{at}");
        assert_eq!(server.mails.lock().unwrap().len(), 1, "{at}");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_meanwhile_is_replaced() {
    let (server, address) = Server::start(&[Twist { at: "NOOP", answer: None }]).await;
    let sender = to(address);
    sender.send(&confirmation(&order(1))).await.unwrap();
    sender.send(&confirmation(&order(2))).await.unwrap();
    assert_eq!((server.mails.lock().unwrap().len(), *server.connections.lock().unwrap()), (2, 2));
}

#[tokio::test]
async fn an_address_that_the_server_cannot_take_is_undeliverable() {
    let (server, address) = Server::start(&[]).await;
    let mut order = order(1);
    order.document.email = Some("löwe@example.com".into());
    let error = to(address).send(&confirmation(&order)).await.unwrap_err();
    assert!(matches!(&error, SendError::Permanent(cause) if cause.contains("beyond ASCII")), "{error}");
    assert!(server.mails.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_without_starttls_is_sent_nothing_if_it_is_required() {
    let (server, address) = Server::start(&[]).await;
    let sender = sender("127.0.0.1", address.port(), serde_json::json!({"tls": "starttls"}));
    let error = sender.send(&confirmation(&order(1))).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("STARTTLS is not supported"), "{error}");
    assert!(server.mails.lock().unwrap().is_empty());
}

/// A mail server of Python: prints its port, then each mail.
const AIOSMTPD: &str = r#"
import asyncio, email, email.policy, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
mode, folder = sys.argv[1], sys.argv[2]
class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('nobody'):
            return '550 5.1.1 no such user'
        envelope.rcpt_tos.append(address)
        return '250 OK'
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            'from': envelope.mail_from, 'to': envelope.rcpt_tos, 'tls': server.transport.get_extra_info('ssl_object') is not None,
            'user': session.auth_data.login.decode() if session.auth_data else None,
            'headers': {name: str(value) for name, value in mail.items()}, 'text': mail.get_content(),
        }))
        return '250 OK'
def authenticate(server, session, envelope, mechanism, data):
    is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (b'ada', b'pass:word')
    return AuthResult(success=is_right, handled=False, auth_data=data if is_right else None)
tls = None
if mode != 'plain':
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder + '/cert.pem', folder + '/key.pem')
def smtp():
    if mode == 'plain':
        return SMTP(Handler(), enable_SMTPUTF8=True)
    needs = dict(authenticator=authenticate, auth_required=True)
    if mode == 'starttls':
        return SMTP(Handler(), tls_context=tls, require_starttls=True, **needs)
    return SMTP(Handler(), auth_require_tls=False, **needs)
async def main():
    server = await asyncio.get_running_loop().create_server(
        smtp, '127.0.0.1', 0, ssl=tls if mode == 'implicit' else None)
    print(json.dumps({'port': server.sockets[0].getsockname()[1]}))
    await server.serve_forever()
asyncio.run(main())
"#;

#[tokio::test]
async fn a_mail_server_of_others_takes_mails_as_they_are_meant() {
    let Some(mut server) = Peer::start(AIOSMTPD, &["plain", ""]) else { return };
    let port = server.says()["port"].as_u64().unwrap();
    let sender = sender("127.0.0.1", port.try_into().unwrap(), serde_json::json!({}));
    let mut full = order(1);
    full.document.lines[0].item = "Läptop\r\n.\r\nQUIT 🐭".into();
    full.document.shipping_address = ".\r\n..\r\n1 Main St".into();
    sender.send(&confirmation(&full)).await.unwrap();
    let mail = server.says();
    assert_eq!(
        (&mail["from"], &mail["to"]),
        (&"shop@example.com".into(), &serde_json::json!(["ada@example.com"]))
    );
    assert_eq!(mail["headers"]["Message-ID"], format!("<{}.confirmed@example.com>", full.order_id));
    assert_eq!(mail["headers"]["Auto-Submitted"], "auto-generated");
    let text = mail["text"].as_str().unwrap().replace("\r\n", "\n");
    assert!(text.contains("2 × Läptop  .  QUIT 🐭, 999.00 USD each\n"), "{text}");
    assert!(
        text.contains("Total: 2007.99 USD\n") && text.trim_end().ends_with("\n.\n..\n1 Main St"),
        "{text}"
    );

    let mut nobody = order(2);
    nobody.document.email = Some("nobody@example.com".into());
    let error = sender.send(&confirmation(&nobody)).await.unwrap_err();
    let cause = "the mail server refused the recipient: 550 5.1.1 no such user";
    assert_eq!(error, SendError::Permanent(cause.into()));

    let mut international = order(3);
    international.document.email = Some("löwe@example.com".into());
    sender.send(&confirmation(&international)).await.unwrap();
    assert_eq!(server.says()["to"], serde_json::json!(["löwe@example.com"]));
}

#[tokio::test]
async fn a_mail_server_of_others_is_logged_in_to_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("login"), "ada:pass:word\n").unwrap();
    let folder = dir.path().to_str().unwrap();
    for mode in ["starttls", "implicit"] {
        let Some(mut server) = Peer::start(AIOSMTPD, &[mode, folder]) else { return };
        let port = server.says()["port"].as_u64().unwrap().try_into().unwrap();
        let settings = serde_json::json!({
            "tls": mode, "ca_file": path("cert.pem"), "credentials_file": path("login"),
        });
        let order = order(1);
        let sent = sender("localhost", port, settings.clone());
        sent.send(&confirmation(&order)).await.unwrap();
        let mail = server.says();
        assert_eq!((&mail["tls"], &mail["user"]), (&true.into(), &"ada".into()), "{mode}: {mail}");

        // A certificate that nobody trusts, and one of another host.
        let mut untrusted = settings.clone();
        untrusted["ca_file"] = "".into();
        for (host, settings) in [("localhost", untrusted), ("127.0.0.1", settings.clone())] {
            let error = sender(host, port, settings).send(&confirmation(&order)).await.unwrap_err();
            assert!(error.is_retryable() && error.to_string().contains("certificate"), "{mode}: {error}");
        }
        // A login that is refused, and then changed.
        std::fs::write(path("wrong"), "ada:guess").unwrap();
        let mut changed = settings;
        changed["credentials_file"] = serde_json::json!(path("wrong"));
        let sender = sender("localhost", port, changed);
        let error = sender.send(&confirmation(&order)).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("the login failed"), "{mode}: {error}");
        assert!(!error.to_string().contains("guess"), "{error}");
        std::fs::write(path("wrong"), "ada:pass:word").unwrap();
        sender.send(&confirmation(&order)).await.unwrap();
    }
}
