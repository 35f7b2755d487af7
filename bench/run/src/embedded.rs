//! The embedded default: the demo without its verification, and the raw limit of SQLite for the same rows. Both run in a
//! folder of their own and report events and seconds themselves.

use crate::arm::Kind;
use crate::options::{Arm, Options};
use crate::published::{Order, Payment, body};
use crate::results::Measured;
use crate::{facts, usage};
use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use serde_json::Value;
use std::path::Path;
use std::{fs::File, process::Stdio, time::Duration, time::Instant};
use tokio::process::Command;
use tokio::time::sleep;

/// Events in a transaction: those that a consumer of the embedded default applies together.
const GROUP: usize = 256;
/// Interval between two looks at the process.
const INTERVAL: Duration = Duration::from_millis(5);

/// A queue that rows pass through, and the table that they end in, with the columns and keys of the embedded default.
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
    CREATE TABLE messages (topic INTEGER, id INTEGER, publish_time INTEGER, attributes TEXT, body BLOB,
        PRIMARY KEY (topic, id)) WITHOUT ROWID;
    CREATE TABLE facts (order_id INTEGER PRIMARY KEY, customer_id INTEGER, item TEXT, quantity INTEGER, price REAL,
        shipping_address TEXT, order_status TEXT, creation_date TEXT, order_ts INTEGER, payment_id INTEGER,
        payment_method TEXT, card_last_four TEXT, payment_status TEXT, payment_datetime TEXT, payment_ts INTEGER);";

/// Runs the program of an arm to its end, and measures it.
pub async fn measure(arm: Arm, options: &Options) -> Result<Measured> {
    let out = options.out.as_deref().context("--out is missing")?;
    let folder = out.join("embedded");
    let log = out.join("logs").join(format!("{}.log", arm.name()));
    let result = out.join("logs").join(format!("{}.json", arm.name()));
    let mut command = match arm {
        Arm::Embedded => {
            let mut demo = Command::new(std::env::current_exe()?.with_file_name("ecom_demo"));
            demo.args(["--format", "json", "--orders", &options.embedded_orders.to_string(), "--data-dir"]);
            demo.arg(&folder).env_remove("ECOM_CONFIG");
            demo
        }
        _ => {
            let mut raw = Command::new(std::env::current_exe()?);
            raw.arg("sqlite-raw").arg(&folder).arg(options.embedded_orders.to_string());
            raw
        }
    };
    let (output, errors) = (File::create(&result)?, File::create(&log)?);
    command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("could not start {}", arm.name()))?;
    let pid = child.id().context("it has ended at once")?;
    let counter = usage::Counter::start(pid);
    let (mut cpu, mut peak_rss) = (0, 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        (cpu, peak_rss) = (cpu.max(usage::cpu_ns(pid)), peak_rss.max(usage::peak_rss(pid)));
        sleep(INTERVAL).await;
    };
    let instructions = counter.stop().await;
    ensure!(
        status.success(),
        "it ended with {status}: {}",
        std::fs::read_to_string(&log).unwrap_or_default()
    );
    let (events, seconds) = reported(&result)?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
    let cpu_seconds = cpu as f64 / 1e9;
    let (requests, latency) = (None, None);
    Ok(Measured { arm, round: 0, events, seconds, cpu_seconds, peak_rss, instructions, requests, latency })
}

/// Reads what a program reported: the events, and the seconds that they took without verification.
fn reported(result: &Path) -> Result<(u64, f64)> {
    let report: Value = serde_json::from_slice(&std::fs::read(result)?).context("its output is not JSON")?;
    let count = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let seconds = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or_default();
    let demo = ["orders", "payments"].map(|kind| {
        count(&format!("/verification/{kind}/published")) + count(&format!("/verification/{kind}/duplicates"))
    });
    let events = count("/events") + demo.iter().sum::<u64>();
    ensure!(events > 0, "it reported no events");
    Ok((events, seconds("/elapsed_seconds") - seconds("/verification_seconds")))
}

/// Writes `n` orders and their payments through a queue into the fact table, all in one file: the raw limit of `SQLite`
/// for one process with one connection. Prints a report.
pub fn raw(folder: &Path, n: i64) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let mut connection = Connection::open(folder.join("raw.db"))?;
    connection.execute_batch(SCHEMA)?;
    let ids: Vec<i64> = (1..=n).collect();
    let started = Instant::now();
    for ids in ids.chunks(GROUP) {
        for kind in [Kind::Order, Kind::Payment] {
            publish(&mut connection, kind, ids)?;
            consume(&mut connection, kind)?;
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let joined = "SELECT count(*) FROM facts WHERE customer_id IS NOT NULL AND payment_id IS NOT NULL";
    let joined: i64 = connection.query_row(joined, [], |row| row.get(0))?;
    ensure!(joined == n, "{joined} of {n} rows are joined");
    println!("{}", serde_json::json!({ "events": 2 * n, "elapsed_seconds": elapsed }));
    Ok(())
}

fn publish(connection: &mut Connection, kind: Kind, ids: &[i64]) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let insert =
        "INSERT INTO messages (topic, id, publish_time, attributes, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = transaction.prepare_cached(insert)?;
    for id in ids {
        let attributes = format!(
            "{{\"event_id\":\"0190163d-8694-739b-aea5-{id:012x}\",\"event_time_us\":\"{}\"}}",
            facts::T + id
        );
        insert.execute(params![kind as i64, id, id, attributes, &*body(kind, *id)])?;
    }
    drop(insert);
    Ok(transaction.commit()?)
}

fn consume(connection: &mut Connection, kind: Kind) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let read = "SELECT id, publish_time, body FROM messages WHERE topic = ?1 ORDER BY id LIMIT ?2";
    let mut read = transaction.prepare_cached(read)?;
    let mut rows = read.query(params![kind as i64, GROUP as i64])?;
    let mut done = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, t): (i64, i64) = (row.get(0)?, row.get(1)?);
        match kind {
            Kind::Order => record_order(&transaction, row.get_ref(2)?.as_blob()?, t)?,
            _ => record_payment(&transaction, row.get_ref(2)?.as_blob()?, t)?,
        }
        done.push(id);
    }
    let mut delete = transaction.prepare_cached("DELETE FROM messages WHERE topic = ?1 AND id = ?2")?;
    for id in done {
        delete.execute(params![kind as i64, id])?;
    }
    drop((rows, delete));
    drop(read);
    Ok(transaction.commit()?)
}

fn record_order(transaction: &Transaction<'_>, body: &[u8], t: i64) -> Result<()> {
    let order: Order<'_> = serde_json::from_slice(body)?;
    let upsert = "INSERT INTO facts (order_id, customer_id, item, quantity, price, shipping_address, order_status,
            creation_date, order_ts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        ON CONFLICT (order_id) DO UPDATE SET customer_id = excluded.customer_id, item = excluded.item,
            quantity = excluded.quantity, price = excluded.price, shipping_address = excluded.shipping_address,
            order_status = excluded.order_status, creation_date = excluded.creation_date,
            order_ts = excluded.order_ts WHERE excluded.order_ts > order_ts";
    transaction.prepare_cached(upsert)?.execute(params![
        order.order_id,
        order.customer_id,
        order.item,
        order.quantity,
        order.price,
        order.shipping_address,
        order.order_status,
        order.creation_date,
        t
    ])?;
    Ok(())
}

fn record_payment(transaction: &Transaction<'_>, body: &[u8], t: i64) -> Result<()> {
    let payment: Payment<'_> = serde_json::from_slice(body)?;
    let slot = "SELECT customer_id, payment_id, payment_ts FROM facts WHERE order_id = ?1";
    let (customer, _, written_at): (Option<i64>, Option<i64>, Option<i64>) = transaction
        .prepare_cached(slot)?
        .query_row([payment.order_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if customer.is_some() && written_at.is_none_or(|at| at < t) {
        let update = "UPDATE facts SET payment_id = ?2, payment_method = ?3, card_last_four = ?4,
                payment_status = ?5, payment_datetime = ?6, payment_ts = ?7 WHERE order_id = ?1";
        transaction.prepare_cached(update)?.execute(params![
            payment.order_id,
            payment.payment_id,
            payment.payment_method,
            payment.card_last_four,
            payment.payment_status,
            payment.payment_datetime,
            t
        ])?;
    }
    Ok(())
}
