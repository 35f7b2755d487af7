//! `ecom_facts export --format parquet`: types, parts, and runs that are killed and continued.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use parquet::basic::{LogicalType, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::PLAIN;
use super::program::{TestDir, eventually};
use super::table::{Table, consume};

/// The exported parts by name.
fn parts(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut parts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    parts.sort();
    parts
}

/// Every order id in a folder.
fn order_ids(folder: &Path) -> Vec<i64> {
    let mut ids = Vec::new();
    for part in parts(folder) {
        let reader = SerializedFileReader::new(File::open(part).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            let Some((_, Field::Long(id))) = row.get_column_iter().next() else { panic!("{row}") };
            ids.push(*id);
        }
    }
    ids
}

#[tokio::test]
async fn an_export_in_parquet_has_the_types_of_the_columns_and_is_not_written_over() {
    let dir = TestDir::new();
    dir.write(
        "orders.jsonl",
        r#"{"order_id": 7, "customer_id": 1, "item": "Book", "quantity": 2, "price": 9.5, "shipping_address": "here", "order_status": "Pending", "creation_date": "2024-01-21"}"#,
    );
    dir.write(
        "payments.jsonl",
        r#"{"payment_id": 71, "order_id": 7, "payment_method": "Credit Card", "card_last_four": "0623", "payment_status": "Completed", "payment_datetime": "2024-01-21"}"#,
    );
    dir.run("orders_producer", &["--from", "orders.jsonl"]).await.with(0);
    let plain = [&["--order-ids", "1-3", "--rate", "max"][..], &PLAIN].concat();
    dir.run("orders_producer", &plain).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    dir.run("payments_producer", &["--from", "payments.jsonl"]).await.with(0);
    consume(&dir, "payment_consumer", &[]).await;

    let export = ["export", "--format", "parquet", "--out", "facts"];
    let said = dir.run("ecom_facts", &export).await.with(0);
    assert!(said.stderr.contains("exported 4 rows to 1 file in facts"), "{}", said.stderr);
    assert_eq!(said.stdout, "");

    let [part] = &parts(&dir.path("facts"))[..] else { panic!("one part") };
    let reader = SerializedFileReader::new(File::open(part).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let types: Vec<(&str, Type)> =
        schema.columns().iter().map(|column| (column.name(), column.physical_type())).collect();
    assert_eq!(types.len(), 13);
    for (name, physical) in &types {
        let expected = match *name {
            "order_id" | "customer_id" | "quantity" | "payment_id" => Type::INT64,
            "price" => Type::DOUBLE,
            _ => Type::BYTE_ARRAY,
        };
        assert_eq!(*physical, expected, "{name}");
    }
    let card = schema.columns().iter().find(|column| column.name() == "card_last_four").unwrap();
    assert_eq!(card.logical_type_ref(), Some(&LogicalType::String));
    let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    let paid = rows.iter().find(|row| row.contains("order_id: 7,")).unwrap();
    assert!(paid.contains(r#"card_last_four: "0623""#) && paid.contains("price: 9.5"), "{paid}");
    assert_eq!(rows.iter().filter(|row| row.contains("payment_id: null")).count(), 3, "{rows:?}");

    let again = dir.run("ecom_facts", &export).await.with(2);
    assert!(again.stderr.contains("the export in facts is complete"), "{}", again.stderr);
    let superseded = [&export[..], &["--table", "superseded"]].concat();
    std::fs::create_dir(dir.path("mine")).unwrap();
    dir.write("mine/notes.txt", "");
    let elsewhere = ["export", "--format", "parquet", "--out", "mine"];
    let refused = dir.run("ecom_facts", &elsewhere).await.with(2);
    assert!(refused.stderr.contains("mine has other files"), "{}", refused.stderr);
    assert!(!dir.path("mine/_SUCCESS").exists());
    dir.run("ecom_facts", &superseded).await.with(2);
    let no_folder = dir.run("ecom_facts", &["export", "--format", "parquet"]).await.with(2);
    assert!(no_folder.stderr.contains("--out"), "{}", no_folder.stderr);
}

#[tokio::test]
async fn an_export_that_is_killed_is_continued_by_the_same_command() {
    const ROWS: i64 = 400_000;
    let dir = TestDir::new();
    dir.run("ecom_setup", &["--embedded"]).await.with(0);
    let table = Table::of(&dir).await;
    table.execute(&format!(
        "INSERT INTO facts (order_id, customer_id, item, order_ts)
         WITH RECURSIVE ids(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM ids WHERE id < {ROWS})
         SELECT id, id, 'Book', 1 FROM ids"
    ));
    let export = ["export", "--format", "parquet", "--out", "facts"];
    let folder = dir.path("facts");
    let running = dir.start("ecom_facts", &export);
    let unfinished = || {
        let names = std::fs::read_dir(&folder).ok()?;
        names.flatten().find(|entry| entry.file_name().to_string_lossy().ends_with(".unfinished"))
    };
    eventually("a part is begun", async || unfinished()).await;
    running.kill();
    let before: BTreeSet<_> = parts(&folder).into_iter().collect();
    assert!(before.len() < 8 && !folder.join("_SUCCESS").exists(), "{before:?}");
    let times = |path: &std::path::PathBuf| path.metadata().unwrap().modified().unwrap();
    let written: Vec<_> = before.iter().map(times).collect();
    // Rows that are recorded meanwhile belong to a range as well.
    table.execute(&format!("INSERT INTO facts (order_id, customer_id, order_ts) VALUES ({ROWS} + 1, 1, 1)"));

    let said = dir.run("ecom_facts", &export).await.with(0);

    assert!(said.stderr.contains("exported 400,001 rows to 8 files in facts"), "{}", said.stderr);
    assert!(said.stderr.contains("by an earlier run") != before.is_empty(), "{}", said.stderr);
    assert!(before.iter().map(times).eq(written), "a part that was there was written again");
    let mut ids = order_ids(&folder);
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=ROWS + 1));
    assert!(folder.join("_SUCCESS").exists());
}

#[tokio::test]
async fn superseded_payments_are_shown_and_exported_with_the_payment_that_they_lost_against() {
    let dir = TestDir::new();
    let plain = [&["--order-ids", "1-2", "--rate", "max"][..], &PLAIN].concat();
    dir.run("orders_producer", &plain).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    let payment = |id: i64| {
        format!(
            "{{\"payment_id\": {id}, \"order_id\": 1, \"payment_method\": \"Credit Card\", \
             \"card_last_four\": \"0042\", \"payment_status\": \"Failed\", \"payment_datetime\": \"today\"}}\n"
        )
    };
    dir.write("payments.jsonl", [11, 12, 13].map(payment).concat());
    dir.run("payments_producer", &["--from", "payments.jsonl"]).await.with(0);
    consume(&dir, "payment_consumer", &[]).await;

    let shown = dir.run("ecom_facts", &["show", "1", "--format", "json"]).await.with(0).json();
    let lost: Vec<_> = shown["superseded_payments"].as_array().unwrap().iter().collect();
    let pairs: Vec<_> = lost.iter().map(|lost| (&lost["payment_id"], &lost["superseded_by"])).collect();
    assert_eq!((pairs.len(), &shown["payment_id"]), (2, &13.into()), "{shown}");
    assert_eq!(pairs, [(&12.into(), &13.into()), (&11.into(), &12.into())]);
    let text = dir.run("ecom_facts", &["show", "1"]).await.with(0).stdout;
    assert!(text.contains("superseded payment") && text.contains("\n12 "), "{text}");
    let none = dir.run("ecom_facts", &["show", "2"]).await.with(0).stdout;
    assert!(!none.contains("superseded"), "{none}");

    let csv = dir.run("ecom_facts", &["export", "--table", "superseded"]).await.with(0).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].ends_with("payment_datetime,event_time,superseded_by"), "{csv}");
    assert!(
        lines[1].starts_with("1,12,Credit Card,0042,Failed,today,") && lines[1].ends_with(",13"),
        "{csv}"
    );
    assert_eq!(lines.len(), 3, "{csv}");
}
