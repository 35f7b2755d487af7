//! A small HTTP server with the paths of the API, which misbehaves as it is told.

use std::sync::{Arc, Mutex};

use ecom_shop_load::client::ApiClient;
use ecom_shop_load::requests::RecordKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The entries of a page, fewer than a client asks for.
const PAGE: usize = 3;

/// The reaction of the server to a request.
pub(crate) enum Behaviour {
    /// It does what it should.
    Usual,
    /// Answers this status, with this many seconds in Retry-After, and records nothing.
    Problem(u16, Option<u64>),
    /// Closes the connection, and records nothing.
    CutBefore,
    /// Records it, and closes the connection.
    CutAfter,
    /// Records it once more under another id.
    Double,
    /// Never answers.
    Silent,
}

/// A request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) key: String,
    /// Its number, from 0.
    pub(crate) n: u64,
    body: Value,
}

type Script = Box<dyn FnMut(&Request) -> Behaviour + Send>;

/// A record.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) kind: RecordKind,
    pub(crate) key: String,
    pub(crate) id: i64,
    pub(crate) body: Value,
}

struct State {
    records: Vec<Record>,
    requests: u64,
    script: Script,
}

/// A running server.
pub(crate) struct FakeApi {
    pub(crate) client: ApiClient,
    state: Arc<Mutex<State>>,
}

impl FakeApi {
    /// Starts a server that does with each request what the script says.
    pub(crate) async fn start(script: impl FnMut(&Request) -> Behaviour + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state =
            Arc::new(Mutex::new(State { records: Vec::new(), requests: 0, script: Box::new(script) }));
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(BufReader::new(stream), Arc::clone(&served)));
            }
        });
        Self { client: ApiClient::try_new(&base, None).unwrap(), state }
    }

    /// Starts one that does what it should.
    pub(crate) async fn usual() -> Self {
        Self::start(|_| Behaviour::Usual).await
    }

    /// Returns the records.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.state.lock().unwrap().records.clone()
    }

    /// Changes the records.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Record>)) {
        change(&mut self.state.lock().unwrap().records);
    }
}

async fn serve(mut stream: BufReader<TcpStream>, state: Arc<Mutex<State>>) -> Option<()> {
    loop {
        let mut request = read(&mut stream).await?;
        let (behaviour, answer) = {
            let mut state = state.lock().unwrap();
            request.n = state.requests;
            state.requests += 1;
            let behaviour = (state.script)(&request);
            let answer = match behaviour {
                Behaviour::Problem(..) | Behaviour::CutBefore | Behaviour::Silent => None,
                Behaviour::Usual | Behaviour::CutAfter => Some(state.answer(&request, false)),
                Behaviour::Double => Some(state.answer(&request, true)),
            };
            (behaviour, answer)
        };
        let (status, retry_after, body) = match (behaviour, answer) {
            (Behaviour::CutBefore | Behaviour::CutAfter, _) => return None,
            (Behaviour::Silent, _) => std::future::pending().await,
            (Behaviour::Problem(status, retry_after), _) => (status, retry_after, json!({"status": status})),
            (_, Some((status, body))) => (status, None, body),
            (_, None) => return None,
        };
        let body = body.to_string();
        let retry_after =
            retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status} x\r\n{retry_after}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = head.split(' ').map(str::to_owned);
    Some(Request {
        method: words.next().unwrap(),
        path: words.next().unwrap(),
        key: header("idempotency-key").unwrap_or_default(),
        n: 0,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

impl State {
    /// Records, lists or reads.
    fn answer(&mut self, request: &Request, is_doubled: bool) -> (u16, Value) {
        let path = request.path.split('?').next().unwrap();
        let kind = RecordKind::ALL.into_iter().find(|kind| path.starts_with(kind.path())).unwrap();
        if request.method == "POST" {
            let known = self.records.iter().find(|record| record.key == request.key && !is_doubled);
            let record = known.cloned().unwrap_or_else(|| Record {
                kind,
                key: request.key.clone(),
                id: 7_000_000_000_000_000 + self.records.len() as i64,
                body: request.body.clone(),
            });
            let view = record.view();
            if !self.records.iter().any(|known| known.id == record.id) {
                self.records.push(record);
            }
            return (201, view);
        }
        let of_kind: Vec<&Record> = self.records.iter().filter(|record| record.kind == kind).collect();
        if let Some(id) = path.strip_prefix(&format!("{}/", kind.path())) {
            let found = of_kind.iter().find(|record| record.id.to_string() == id);
            return found.map_or((404, Value::Null), |record| (200, record.view()));
        }
        let from: usize = request.path.split("page_token=").nth(1).map_or(0, |token| token.parse().unwrap());
        let page: Vec<Value> = of_kind.iter().skip(from).take(PAGE).map(|record| record.in_list()).collect();
        let name = if kind == RecordKind::Order { "orders" } else { "transactions" };
        let mut list = json!({name: page});
        if from + PAGE < of_kind.len() {
            list["next_page_token"] = (from + PAGE).to_string().into();
        }
        (200, list)
    }
}

impl Record {
    /// The record as the API shows it.
    fn view(&self) -> Value {
        let mut view = self.body.clone();
        match self.kind {
            RecordKind::Transaction => view["transaction_id"] = self.id.to_string().into(),
            RecordKind::Order => {
                view["order_id"] = self.id.into();
                view["idempotency_key"] = self.key.clone().into();
                view["shipping_fee"] = 0.into();
                if view.get("total").is_none() {
                    let lines = view["lines"].as_array().unwrap();
                    let price = |line: &Value| {
                        line["unit_price"].as_f64().unwrap() * line["quantity"].as_f64().unwrap()
                    };
                    let total: f64 = lines.iter().map(price).sum();
                    view["total"] = ((total * 100.0).round() / 100.0).into();
                }
            }
        }
        view
    }

    fn in_list(&self) -> Value {
        let mut view = self.view();
        view.as_object_mut().unwrap().remove("lines");
        view
    }
}
