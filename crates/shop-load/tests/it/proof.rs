//! The proof: what is recorded once is proven, and everything else is found.

use std::path::{Path, PathBuf};

use ecom_shop_load::client::ApiClient;
use ecom_shop_load::counts::LoadCounts;
use ecom_shop_load::load::{Load, send};
use ecom_shop_load::manifest::{ManifestWriter, Manifests, run_name};
use ecom_shop_load::proof::{KindProof, Proof, ProofError, prove};
use ecom_shop_load::requests::{Creates, RecordKind, TransactionMix};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fake_api::{Behaviour, FakeApi, Record};
use super::load::users;

/// A run of ten requests that was proven, to be tampered with.
struct Run {
    api: FakeApi,
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Run {
    async fn of(creates: Creates) -> Self {
        let api = FakeApi::usual().await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.jsonl");
        send_with_manifest(&api.client, &path, "run", creates).await;
        let run = Self { api, _dir: dir, path };
        let proof = run.proof().await;
        assert!(proof.is_clean(), "{proof:?}");
        run
    }

    async fn proof(&self) -> Proof {
        prove(&self.api.client, Manifests::read(std::slice::from_ref(&self.path)).unwrap()).await.unwrap()
    }

    async fn transactions() -> Self {
        Self::of(Creates::Transactions(TransactionMix::default())).await
    }

    /// Rewrites the lines of the manifest.
    fn rewrite(&self, rewrite: impl FnOnce(&mut Vec<String>)) {
        let text = std::fs::read_to_string(&self.path).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        rewrite(&mut lines);
        std::fs::write(&self.path, lines.join("\n") + "\n").unwrap();
    }
}

async fn send_with_manifest(client: &ApiClient, path: &Path, run: &str, creates: Creates) -> LoadCounts {
    let writer = ManifestWriter::append(path, run, "http://x", 7).unwrap();
    let load = Load { run: run.to_owned(), creates: vec![creates], ..users(2, 10) };
    let counts = LoadCounts::default();
    send(client, &load, Some(&writer), &counts, &CancellationToken::new()).await.unwrap();
    counts
}

/// Asserts that these counts are not clean, and that a fault has this text.
#[track_caller]
fn assert_fault(proof: &Proof, kind: RecordKind, counts: KindProof, text: &str) {
    let found = proof.of(kind);
    let faults =
        KindProof { keys: 0, answered: 0, proven: 0, unanswered: 0, unanswered_recorded: 0, ..found.clone() };
    assert_eq!(faults, counts, "{:?}", proof.faults);
    assert!(!proof.is_clean() && proof.faults.iter().any(|fault| fault.contains(text)), "{:?}", proof.faults);
}

#[tokio::test]
async fn every_key_of_orders_and_transactions_is_proven_over_several_pages_and_runs() {
    let api = FakeApi::usual().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let mix = || Creates::Transactions(TransactionMix::default());
    send_with_manifest(&api.client, &path, "one", Creates::Orders).await;
    send_with_manifest(&api.client, &path, "two", mix()).await;
    // What others record, one of them with a sender that looks like ours, is none of its business.
    let foreign = json!({"sender": "user1.other-3", "receiver": "b", "amount": 10, "currency": "USD"});
    api.client.post("/api/v1/transactions", "foreign", &foreign).await.unwrap();
    let proof = prove(&api.client, Manifests::read(&[path]).unwrap()).await.unwrap();
    let ten = KindProof { keys: 10, answered: 10, proven: 10, ..KindProof::default() };
    assert_eq!((&proof.orders, &proof.transactions), (&ten, &ten), "{:?}", proof.faults);
    assert!(proof.is_clean());
}

#[tokio::test]
async fn a_lost_record_is_found() {
    let run = Run::transactions().await;
    run.api.change(|records| drop(records.remove(4)));
    let lost = KindProof { lost: 1, ..KindProof::default() };
    assert_fault(&run.proof().await, RecordKind::Transaction, lost, "and not recorded");
}

#[tokio::test]
async fn a_doubled_record_is_found() {
    for creates in [Creates::Orders, Creates::Transactions(TransactionMix::default())] {
        let kind = creates.kind();
        let run = Run::of(creates).await;
        run.api.change(|records| records.push(Record { id: 5, ..records[4].clone() }));
        let doubled = KindProof { doubled: 1, ..KindProof::default() };
        assert_fault(&run.proof().await, kind, doubled, " 5");
    }
}

#[tokio::test]
async fn two_answers_with_two_ids_are_found_even_if_one_of_them_is_not_recorded() {
    let api = FakeApi::start(|request| match &request.key[..] {
        "run-0-1" => Behaviour::Double,
        _ => Behaviour::Usual,
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let writer = ManifestWriter::append(&path, "run", "http://x", 7).unwrap();
    let (load, counts) = (Load { send_twice: true, ..users(2, 10) }, LoadCounts::default());
    send(&api.client, &load, Some(&writer), &counts, &CancellationToken::new()).await.unwrap();
    api.change(|records| {
        let second = records.iter().rposition(|record| record.key == "run-0-1").unwrap();
        records.remove(second);
    });
    let proof = prove(&api.client, Manifests::read(&[path]).unwrap()).await.unwrap();
    let text = proof.faults.join("\n");
    assert!(proof.manifest_faults == 1 && text.contains("run-0-1 was answered as 70"), "{text}");
}

#[tokio::test]
async fn a_record_with_other_values_or_another_id_is_found() {
    let different = || KindProof { different: 1, ..KindProof::default() };
    for field in ["receiver", "amount", "currency"] {
        let run = Run::transactions().await;
        run.api.change(|records| records[3].body[field] = json!(7));
        assert_fault(&run.proof().await, RecordKind::Transaction, different(), &format!("{field} asked "));
    }
    for (pointer, text) in [
        ("/customer_id", "customer_id asked "),
        ("/lines/0/quantity", "lines/0/quantity asked "),
        ("/lines/0/unit_price", "lines/0/unit_price asked "),
    ] {
        let run = Run::of(Creates::Orders).await;
        run.api.change(|records| *records[3].body.pointer_mut(pointer).unwrap() = json!(77));
        assert_fault(&run.proof().await, RecordKind::Order, different(), text);
    }
    let run = Run::of(Creates::Orders).await;
    run.api.change(|records| records[3].body["total"] = json!(0.01));
    assert_fault(&run.proof().await, RecordKind::Order, different(), "total asked ");
    let run = Run::transactions().await;
    run.api.change(|records| records[3].id = 5);
    assert_fault(&run.proof().await, RecordKind::Transaction, different(), "recorded as 5");
}

#[tokio::test]
async fn a_record_that_no_key_accounts_for_is_found_even_if_its_lines_are_removed() {
    for creates in [Creates::Orders, Creates::Transactions(TransactionMix::default())] {
        let kind = creates.kind();
        let run = Run::of(creates).await;
        // The last request, so that no number is missing.
        run.rewrite(|lines| lines.retain(|line| !line.contains("run-1-4")));
        let invented = KindProof { invented: 1, ..KindProof::default() };
        assert_fault(&run.proof().await, kind, invented, "run-1-4: ");
    }
}

#[tokio::test]
async fn an_answer_that_was_changed_or_removed_is_found() {
    let run = Run::transactions().await;
    run.rewrite(|lines| {
        let line = lines.iter_mut().find(|line| line.contains("answered")).unwrap();
        *line = line.replace(":7000", ":7999");
    });
    let different = KindProof { different: 1, ..KindProof::default() };
    assert_fault(&run.proof().await, RecordKind::Transaction, different, "answered as 7999");
    let run = Run::transactions().await;
    run.rewrite(|lines| drop(lines.remove(2)));
    let proof = run.proof().await;
    assert!(proof.manifest_faults > 0 && !proof.is_clean(), "{proof:?}");
}

#[tokio::test]
async fn unanswered_keys_may_be_recorded_or_not() {
    // The API ends in the middle: it has recorded one request of which the answer is missing, and not the other.
    let api = FakeApi::start(|request| match (&request.method[..], &request.key[..]) {
        ("POST", "run-0-4") => Behaviour::CutAfter,
        ("POST", "run-1-4") => Behaviour::CutBefore,
        _ => Behaviour::Usual,
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    let writer = ManifestWriter::append(&path, "run", "http://x", 7).unwrap();
    let (load, counts, stop) = (users(2, 10), LoadCounts::default(), CancellationToken::new());
    let stopping = async {
        while counts.repeated.get() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let sending = async { send(&api.client, &load, Some(&writer), &counts, &stop).await.unwrap() };
    tokio::join!(sending, stopping);
    assert_eq!((counts.recorded.get(), counts.unanswered.get()), (8, 2));
    let proof = prove(&api.client, Manifests::read(&[path]).unwrap()).await.unwrap();
    assert!(proof.is_clean(), "{proof:?}");
    let expected = KindProof {
        keys: 10,
        answered: 8,
        proven: 8,
        unanswered: 2,
        unanswered_recorded: 1,
        ..KindProof::default()
    };
    assert_eq!(proof.transactions, expected);
}

#[tokio::test]
async fn the_proof_goes_on_through_outages_and_ends_with_a_refusal() {
    let api = FakeApi::start(|request| match (&request.method[..], request.n % 3) {
        ("GET", 0) => Behaviour::Problem(503, None),
        ("GET", 1) => Behaviour::CutBefore,
        _ => Behaviour::Usual,
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.jsonl");
    send_with_manifest(&api.client, &path, "run", Creates::Transactions(TransactionMix::default())).await;
    let proof = prove(&api.client, Manifests::read(std::slice::from_ref(&path)).unwrap()).await.unwrap();
    assert!(proof.is_clean() && proof.transactions.proven == 10, "{proof:?}");
    let closed = FakeApi::start(|_| Behaviour::Problem(401, None)).await;
    let refused = prove(&closed.client, Manifests::read(&[path]).unwrap()).await;
    assert!(matches!(refused, Err(ProofError::Refused { status: 401, .. })), "{refused:?}");
}

#[test]
fn the_name_of_a_run_is_letters_alone() {
    let names = [[0; 10], [25; 10], [255; 10]].map(run_name);
    assert_eq!(names, ["aaaaaaaaaa", "zzzzzzzzzz", "vvvvvvvvvv"]);
}
