//! The proof that every request of a manifest was recorded once, as it was asked.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::{ApiClient, ClientError, pause};
use super::manifest::{Asked, Manifests, run_of};
use super::requests::{RecordKind, named_key};

/// The entries of a page.
const PAGE: usize = 1_000;
/// The requests at the same time.
const IN_FLIGHT: usize = 16;
/// The longest time that a request is repeated without success.
const PATIENCE: Duration = Duration::from_secs(60);
/// The faults that are kept with their texts; the others are only counted.
const SHOWN: usize = 100;

/// The outcome of the requests of manifests.
#[derive(Debug, Default, Serialize)]
pub struct Proof {
    /// Orders.
    pub orders: KindProof,
    /// Transactions without an order.
    pub transactions: KindProof,
    /// Faults of the manifests themselves.
    pub manifest_faults: u64,
    /// Lines that were not written to their end, because their process was killed.
    pub incomplete_lines: u64,
    /// The first faults.
    pub faults: Vec<String>,
}

/// The outcome of the requests for one kind of records.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct KindProof {
    /// Idempotency keys.
    pub keys: u64,
    /// Keys whose request was answered.
    pub answered: u64,
    /// Of those, keys that are recorded once, under the answered id, as it was asked.
    pub proven: u64,
    /// Keys without an answer; they may or may not be recorded.
    pub unanswered: u64,
    /// Of those, keys that are recorded once, as it was asked.
    pub unanswered_recorded: u64,
    /// Answered keys that are not recorded.
    pub lost: u64,
    /// Records beyond the first of their key.
    pub doubled: u64,
    /// Keys with another id than answered, or with other values than asked.
    pub different: u64,
    /// Records of these runs without a key.
    pub invented: u64,
}

impl KindProof {
    /// Returns the number of faults.
    pub fn faults(&self) -> u64 {
        self.lost + self.doubled + self.different + self.invented
    }
}

impl Proof {
    /// Returns whether the proof holds.
    pub fn is_clean(&self) -> bool {
        self.all_faults() == 0
    }

    /// Returns the number of faults, those included whose texts are not kept.
    pub fn all_faults(&self) -> u64 {
        self.manifest_faults + self.orders.faults() + self.transactions.faults()
    }

    /// Returns the counts of a kind.
    pub fn of(&self, kind: RecordKind) -> &KindProof {
        match kind {
            RecordKind::Order => &self.orders,
            RecordKind::Transaction => &self.transactions,
        }
    }

    fn of_mut(&mut self, kind: RecordKind) -> &mut KindProof {
        match kind {
            RecordKind::Order => &mut self.orders,
            RecordKind::Transaction => &mut self.transactions,
        }
    }

    /// Adds a fault to the count that `count` selects, and keeps its text.
    fn fault(&mut self, kind: RecordKind, count: impl FnOnce(&mut KindProof) -> &mut u64, text: String) {
        *count(self.of_mut(kind)) += 1;
        self.keep(text);
    }

    fn keep(&mut self, text: String) {
        if self.faults.len() < SHOWN {
            self.faults.push(text);
        }
    }
}

/// The API could not be asked.
#[derive(thiserror::Error, Debug)]
pub enum ProofError {
    /// It does not answer.
    #[error("the API did not answer for {PATIENCE:?}: {0}")]
    NoAnswer(ClientError),
    /// It refuses to answer.
    #[error("the API refused GET {path}: {status} {body}")]
    Refused {
        /// The path.
        path: String,
        /// The status.
        status: u16,
        /// The body.
        body: Value,
    },
}

/// Asks the API about every key of these manifests. Nothing may be sent meanwhile with their runs.
///
/// All pages of the API's lists are read, so that what no key accounts for is found, too.
///
/// # Errors
/// The API does not answer, or refuses to.
pub async fn prove(client: &ApiClient, mut manifests: Manifests) -> Result<Proof, ProofError> {
    let mut proof = Proof { incomplete_lines: manifests.incomplete_lines, ..Proof::default() };
    for fault in std::mem::take(&mut manifests.faults) {
        proof.manifest_faults += 1;
        proof.keep(fault);
    }
    for asked in manifests.asked.values() {
        let counts = proof.of_mut(asked.kind);
        counts.keys += 1;
        match asked.answered {
            Some(_) => counts.answered += 1,
            None => counts.unanswered += 1,
        }
    }
    for kind in RecordKind::ALL {
        read_list(client, kind, &mut manifests, &mut proof).await?;
        look_for_unlisted(client, kind, &manifests, &mut proof).await?;
    }
    Ok(proof)
}

/// Reads every page of a list, and compares its records of the runs with the requests.
async fn read_list(
    client: &ApiClient,
    kind: RecordKind,
    manifests: &mut Manifests,
    proof: &mut Proof,
) -> Result<(), ProofError> {
    let first = format!("{}?page_size={PAGE}", kind.path());
    let mut next = Some(first.clone());
    while let Some(path) = next.take() {
        let mut page = get(client, &path).await?.unwrap_or_default();
        next = page["next_page_token"].as_str().map(|token| format!("{first}&page_token={token}"));
        let list = match kind {
            RecordKind::Order => "orders",
            RecordKind::Transaction => "transactions",
        };
        let mut found = Vec::new();
        for record in page[list].as_array_mut().map(std::mem::take).unwrap_or_default() {
            let key = key_of(kind, &record).filter(|key| manifests.runs.contains(run_of(key)));
            if let (Some(key), Some(id)) = (key, kind.id(&record)) {
                found.extend(
                    account(&key, id, kind, &mut manifests.asked, proof).then_some((key, id, record)),
                );
            }
        }
        // The list of orders leaves out their lines.
        let whole = found.into_iter().map(|(key, id, record)| async move {
            let record = match kind {
                RecordKind::Order => get(client, &format!("{}/{id}", kind.path())).await?,
                RecordKind::Transaction => Some(record),
            };
            Ok((key, id, record))
        });
        let mut whole = stream::iter(whole).buffer_unordered(IN_FLIGHT);
        while let Some(read) = whole.next().await {
            let (key, id, record) = read?;
            if let Some(asked) = manifests.asked.get(&key) {
                compare(&key, id, asked, record.as_ref(), proof);
            }
        }
    }
    Ok(())
}

/// Returns the key that a record was created with, as far as it shows it.
fn key_of(kind: RecordKind, record: &Value) -> Option<String> {
    match kind {
        RecordKind::Order => record["idempotency_key"].as_str().map(str::to_owned),
        RecordKind::Transaction => named_key(record["sender"].as_str()?).map(str::to_owned),
    }
}

/// Accounts for a record of one of the runs. Returns whether it is the first one of its key.
fn account(
    key: &str,
    id: i64,
    kind: RecordKind,
    asked: &mut HashMap<String, Asked>,
    proof: &mut Proof,
) -> bool {
    let what = kind.as_str();
    match asked.get_mut(key).filter(|asked| asked.kind == kind) {
        None => {
            let text = format!("{key}: {what} {id} is recorded, and no line asks for it");
            proof.fault(kind, |counts| &mut counts.invented, text);
            false
        }
        Some(Asked { found: Some(other), .. }) => {
            let text = format!("{key}: recorded as {what} {other} and as {what} {id}");
            proof.fault(kind, |counts| &mut counts.doubled, text);
            false
        }
        Some(asked) => {
            asked.found = Some(id);
            true
        }
    }
}

/// Compares a record with what was asked and answered.
fn compare(key: &str, id: i64, asked: &Asked, record: Option<&Value>, proof: &mut Proof) {
    let mut differences: Vec<String> = match record {
        None => vec![format!("listed as {id}, and not found under it")],
        Some(record) => differences(asked, record),
    };
    if let Some(answered) = asked.answered.filter(|answered| *answered != id) {
        differences.push(format!("answered as {answered}, recorded as {id}"));
    }
    if !differences.is_empty() {
        let text = format!("{key}: {}", differences.join("; "));
        proof.fault(asked.kind, |counts| &mut counts.different, text);
        return;
    }
    let counts = proof.of_mut(asked.kind);
    match asked.answered {
        Some(_) => counts.proven += 1,
        None => counts.unanswered_recorded += 1,
    }
}

/// Looks for the records of answered keys that the list did not have.
async fn look_for_unlisted(
    client: &ApiClient,
    kind: RecordKind,
    manifests: &Manifests,
    proof: &mut Proof,
) -> Result<(), ProofError> {
    let is_unlisted = |asked: &Asked| asked.kind == kind && asked.found.is_none();
    let unlisted = manifests.asked.iter().filter(|(_, asked)| is_unlisted(asked));
    let unlisted = unlisted.filter_map(|(key, asked)| Some((key, asked.answered?)));
    let looking = unlisted
        .map(|(key, id)| async move { Ok((key, id, get(client, &format!("{}/{id}", kind.path())).await?)) });
    let mut looking = stream::iter(looking).buffer_unordered(IN_FLIGHT);
    while let Some(looked) = looking.next().await {
        let (key, id, record) = looked?;
        match record {
            None => {
                let text = format!("{key}: answered as {id}, and not recorded");
                proof.fault(kind, |counts| &mut counts.lost, text);
            }
            Some(_) => {
                let text = format!("{key}: {} {id} is not in the list, or has another key", kind.as_str());
                proof.fault(kind, |counts| &mut counts.different, text);
            }
        }
    }
    Ok(())
}

/// Returns the fields of a record that differ from its request.
fn differences(asked: &Asked, record: &Value) -> Vec<String> {
    let Ok(request) = serde_json::from_str::<Value>(&asked.request) else {
        return vec!["the line does not say what was asked".to_owned()];
    };
    let mut differences = Vec::new();
    let mut differ = |name: &str, asked: &Value, recorded: &Value| {
        if !is_same(asked, recorded) {
            differences.push(format!("{name} asked {asked}, recorded {recorded}"));
        }
    };
    match asked.kind {
        RecordKind::Transaction => {
            for name in ["sender", "receiver", "amount", "currency"] {
                differ(name, &request[name], &record[name]);
            }
        }
        RecordKind::Order => {
            differ("customer_id", &request["customer_id"], &record["customer_id"]);
            let lines = |order: &Value| order["lines"].as_array().cloned().unwrap_or_default();
            let (lines, recorded) = (lines(&request), lines(record));
            differ("number of lines", &lines.len().into(), &recorded.len().into());
            for (n, (line, recorded)) in lines.iter().zip(&recorded).enumerate() {
                for name in ["item", "quantity", "unit_price"] {
                    differ(&format!("lines/{n}/{name}"), &line[name], &recorded[name]);
                }
            }
            let cents = |value: &Value| (value.as_f64().unwrap_or(f64::NAN) * 100.0).round();
            let price: f64 = lines
                .iter()
                .map(|line| cents(&line["unit_price"]) * line["quantity"].as_f64().unwrap_or_default())
                .sum();
            differ("total", &((price + cents(&record["shipping_fee"])) / 100.0).into(), &record["total"]);
        }
    }
    differences
}

/// Returns whether two values are the same; numbers are, however they are written.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Reads what is at a path, and repeats that through outages; `None` if there is nothing.
async fn get(client: &ApiClient, path: &str) -> Result<Option<Value>, ProofError> {
    let began = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let is_last = began.elapsed() >= PATIENCE;
        let wait = match client.get(path).await {
            Ok(answer) if answer.status.is_success() => return Ok(Some(answer.body)),
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => return Ok(None),
            Ok(answer) if is_last || !answer.may_be_repeated() => {
                let (path, status) = (path.to_owned(), answer.status.as_u16());
                return Err(ProofError::Refused { path, status, body: answer.body });
            }
            Err(error) if is_last => return Err(ProofError::NoAnswer(error)),
            Ok(answer) => {
                // A rate limit is reached as a matter of course.
                if attempts == 1 && answer.status != StatusCode::TOO_MANY_REQUESTS {
                    warn(&format!("GET {path} was answered with {} {}", answer.status, answer.body));
                }
                pause(attempts, Some(&answer))
            }
            Err(error) => {
                if attempts == 1 {
                    warn(&error.to_string());
                }
                pause(attempts, None)
            }
        };
        sleep(wait).await;
    }
}

/// Logs why a request is repeated.
fn warn(reason: &str) {
    tracing::warn!("{reason}; it is repeated for up to {PATIENCE:?}");
}
