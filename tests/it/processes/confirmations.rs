//! The notifier as a process: every paid order is confirmed, whatever is killed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use ecom_bus::{Bus, Message};
use ecom_embedded::{Options, Route, open};
use ecom_shop_load::client::ApiClient;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::admin::get;
use super::program::{Running, TestDir, eventually};
use super::shop::{ApiProcess, Place};

/// The roles that an order needs until it is paid, and those that write its row.
const OTHERS: [&str; 3] = ["order_consumer", "payment_consumer", "dlq_handler"];
/// Every seventh order is not paid.
const UNPAID: u64 = 7;

/// An order that was asked for.
pub(super) struct Asked {
    /// Its id, as the API says it.
    pub(super) id: i64,
    /// Its total, in whole dollars.
    pub(super) total: u64,
    pub(super) is_paid: bool,
}

/// Asks for an order of this number, of which every seventh is not paid.
pub(super) async fn order(client: &ApiClient, n: u64) -> Asked {
    let (is_paid, total) = (!n.is_multiple_of(UNPAID), 1_000 + n);
    let order = json!({
        "customer_id": n + 1, "lines": [{"item": "Läptop", "quantity": 1, "unit_price": total}],
        "shipping_address": "1 Main St", "email": format!("customer-{n}@example.com"),
        "payment_method": if is_paid { "Test: succeed" } else { "Test: fail" },
    });
    let answer = client.post("/api/v1/orders", &format!("order-{n}"), &order).await.unwrap();
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
    Asked { id: answer.body["order_id"].as_i64().unwrap(), total, is_paid }
}

/// Asks for the orders of these numbers, all at once.
pub(super) async fn orders(client: &ApiClient, numbers: std::ops::Range<u64>) -> Vec<Asked> {
    join_all(numbers.map(|n| order(client, n))).await
}

/// Waits until every order is paid or cancelled and everything adds up, and returns what the verification found.
pub(super) async fn at_rest(dir: &TestDir, place: &Place, orders: &[Asked]) -> Value {
    let paid = orders.iter().filter(|order| order.is_paid).count();
    eventually("every order comes to rest", async || {
        let found = place.verify(dir).await;
        let count = |of: &str, name: &str| found["shop"][of][name].as_u64().unwrap_or(0);
        let notices: u64 = ["sent", "undeliverable"].iter().map(|outcome| count("notices", outcome)).sum();
        let is_done = count("orders", "completed") == paid as u64 && notices == paid as u64;
        is_done.then_some(found)
    })
    .await
}

/// Returns the text of a mail, decoded.
pub(super) fn text(mail: &str) -> String {
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    if head.to_lowercase().contains("quoted-printable") {
        body.replace("=\r\n", "").replace("=C3=97", "×").replace("=C3=A4", "ä")
    } else {
        assert!(!head.to_lowercase().contains("base64"), "{head}");
        body.to_owned()
    }
}

/// Checks that the mails in a folder are those of the paid orders, one each, with the right recipient and total.
fn check_folder(folder: &Path, orders: &[Asked]) {
    let mut mails = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            mails.insert(
                path.file_stem().unwrap().to_str().unwrap().to_owned(),
                std::fs::read_to_string(path).unwrap(),
            );
        }
    }
    let paid: BTreeMap<String, &Asked> = orders
        .iter()
        .filter(|order| order.is_paid)
        .map(|order| (format!("{}.confirmed", order.id), order))
        .collect();
    assert_eq!(mails.keys().collect::<BTreeSet<_>>(), paid.keys().collect());
    for (name, mail) in &mails {
        let Asked { id, total, .. } = paid[name];
        assert!(mail.contains(&format!("Message-ID: <{id}.confirmed@localhost>")), "{mail}");
        assert!(mail.contains(&format!("To: customer-{}@example.com", total - 1_000)), "{mail}");
        let text = text(mail);
        assert!(text.contains(&format!("Total: {total}.00 USD")), "{text}");
        assert!(text.contains("1 × Läptop"), "{text}");
    }
}

#[tokio::test]
async fn each_paid_order_has_one_mail_though_notifiers_and_processors_are_killed() {
    const KILLS: u32 = 5;
    let (dir, place) = (TestDir::new(), Place::embedded());
    let api = ApiProcess::start(&dir, &place).await;
    let _others: Vec<Running> = OTHERS.map(|role| place.start(&dir, role)).into();
    let mut processor = place.start(&dir, "payment_processor");
    let mut notifier = place.start(&dir, "notifier");
    let mut asked = Vec::new();
    for n in 0..KILLS {
        let batch = 20;
        let numbers = u64::from(n) * batch..u64::from(n + 1) * batch;
        let sending = async {
            tokio::time::sleep(Duration::from_millis(300 + 150 * u64::from(n))).await;
            notifier.kill();
            processor.kill();
            (place.start(&dir, "notifier"), place.start(&dir, "payment_processor"))
        };
        let (more, started) = tokio::join!(orders(&api.client, numbers), sending);
        (notifier, processor) = started;
        asked.extend(more);
    }
    let found = at_rest(&dir, &place, &asked).await;
    assert_eq!(found["faults"], json!({}), "{found}");
    check_folder(&dir.path("data/mail"), &asked);
    notifier.drained().await.with(0);
    processor.drained().await.with(0);
}

#[tokio::test]
async fn an_order_that_is_paid_before_there_is_a_notifier_is_a_difference_until_one_runs() {
    let (dir, place) = (TestDir::new(), Place::embedded());
    let api = ApiProcess::start(&dir, &place).await;
    let _others: Vec<Running> = OTHERS.map(|role| place.start(&dir, role)).into();
    let _processor = place.start(&dir, "payment_processor");
    let asked = orders(&api.client, 1..2).await;
    let path = format!("/api/v1/orders/{}", asked[0].id);
    eventually("the order is completed", async || {
        let answer = api.client.get(&path).await.ok()?;
        (answer.body["status"] == "Completed" && answer.body["in_table"] == true).then_some(())
    })
    .await;
    let flags = place.flags.iter().map(String::as_str);
    let verify: Vec<&str> = ["verify", "--shop"].into_iter().chain(flags).collect();
    let found = dir.run("ecom_facts", &verify).await.with(3);
    let says =
        format!("order {} is completed, and its confirmation was neither sent nor given up", asked[0].id);
    assert!(found.stdout.contains(&says), "{}", found.stdout);
    let admin = ["--admin-listen", "127.0.0.1:0"];
    let flags: Vec<&str> = place.flags.iter().map(String::as_str).chain(admin).collect();
    let mut notifier = dir.start("notifier", &flags);
    let address = notifier.serves().await;
    at_rest(&dir, &place, &asked).await;
    let clean = dir.run("ecom_facts", &verify).await.with(0);
    assert!(clean.stdout.contains("confirmations"), "{}", clean.stdout);
    let metrics = get(&address, "/metrics").await;
    let sent = r#"ecom_send_seconds_count{role="notifier",outcome="ok"} 1"#;
    assert!(metrics.contains(sent), "{metrics}");
    check_folder(&dir.path("data/mail"), &asked);
    // What is no request becomes a dead letter, which no event is missing for.
    let routes = vec![Route::new("notices_data", "notices_data-sub")];
    let bus = open(&dir.path("data"), Options::new(routes)).unwrap();
    let rubbish = Message { body: "rubbish".into(), ..Message::default() };
    bus.publisher("notices_data", 1).await.unwrap().publish(rubbish).await.await.unwrap();
    eventually("the dead letter is recorded", async || {
        let listed = dir.run("dlq_handler", &["list", "--format", "json"]).await.with(0);
        (listed.json()["dead_letters"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    dir.run("ecom_facts", &verify).await.with(0);
}

#[tokio::test]
async fn a_channel_without_what_it_needs_is_a_usage_error() {
    let dir = TestDir::new();
    for (args, says) in [
        (
            &["--channel", "smtp"][..],
            "shop.notifier.from is required because shop.notifier.channel is \"smtp\"",
        ),
        (&["--channel", "webhook"], "shop.notifier.webhook.url is required"),
        (&["--set", "shop.notifier.from=nobody"], "shop.notifier.from must be an e-mail address"),
    ] {
        let refused = dir.run("notifier", args).await.with(2);
        assert!(refused.error().contains(says), "{}", refused.stderr);
    }
}
