//! The tables as people see them, and what becomes of rows that people changed or that are large.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/folder.rs"]
mod folder;
#[path = "fixture/records.rs"]
mod records;

use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::payment::PaymentRecord;
use ecom_shop_domain::time::rfc3339;
use ecom_shop_store::{OrderStore, PaymentStore, ReadGuarantee};
use ecom_store::StoreError;
use folder::{raw, shop};
use futures_util::TryStreamExt;
use records::{NOW, order, transaction};

#[tokio::test]
async fn the_readable_orders_have_times_of_the_form_of_the_fact_table() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    let state_at = NOW + 59_999_999;
    let refused = OrderRecord {
        state: OrderState::Refused,
        state_at,
        due_at: None,
        detail: Some("too late".into()),
        ..order(2)
    };
    shop.create_order(&order(1)).await.unwrap();
    shop.create_order(&refused).await.unwrap();
    let read = |n: i64| -> (String, String, String, Option<String>, String, i64, i64, Option<String>) {
        let sql = "SELECT state, created, state_since, due, items, total_minor, shipping_minor, detail
            FROM shop_orders_readable WHERE order_id = ?1";
        let columns = |row: &ecom_embedded::rusqlite::Row<'_>| row.try_into();
        raw(dir.path()).query_row(sql, [order(n).order_id.0], columns).unwrap()
    };
    let items = "2 × Mouse, 1 × Pad".to_owned();
    let due = Some(rfc3339(NOW + 3_600_000_000));
    let created = rfc3339(NOW);
    assert_eq!(created, "2025-06-15T15:06:40.000007Z");
    assert_eq!(
        read(1),
        ("accepted".into(), created.clone(), created.clone(), due, items.clone(), 1_250, 0, None)
    );
    let detail = Some("too late".into());
    assert_eq!(read(2), ("refused".into(), created, rfc3339(state_at), None, items, 1_250, 0, detail));
}

#[tokio::test]
async fn the_readable_payments_have_times_of_the_form_of_the_fact_table() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    let of_order = PaymentRecord { payment_id: 5, ..PaymentRecord::opened_by_processor(&order(1), 0) };
    shop.create_payment(&transaction(1)).await.unwrap();
    shop.create_payment(&of_order).await.unwrap();
    let read = |payment_id: i64| -> (String, String, String, Option<String>, Option<i64>, String, i64) {
        let sql = "SELECT state, created, state_since, due, order_id, currency, amount_minor
            FROM shop_payments_readable WHERE payment_id = ?1";
        let columns = |row: &ecom_embedded::rusqlite::Row<'_>| row.try_into();
        raw(dir.path()).query_row(sql, [payment_id], columns).unwrap()
    };
    let (created, due) = (rfc3339(NOW), rfc3339(NOW + 3_600_000_000));
    let pending = ("Pending".into(), created.clone(), created, Some(due), None, "JPY".into(), 10_000);
    assert_eq!(read(transaction(1).payment_id), pending);
    let at = rfc3339(NOW + 1);
    let processing =
        ("Processing".into(), at.clone(), at, None, Some(order(1).order_id.0), "USD".into(), 1_250);
    assert_eq!(read(5), processing);
}

#[tokio::test]
async fn the_file_explains_its_tables() {
    let dir = tempfile::tempdir().unwrap();
    drop(shop(dir.path()));
    for table in [
        "shop_orders",
        "shop_payments",
        "shop_products",
        "shop_reservations",
        "shop_carts",
        "shop_orders_readable",
        "shop_payments_readable",
        "shop_stock",
    ] {
        let sql = "SELECT instr(sql, '    -- ') > 0 FROM sqlite_schema WHERE name = ?1";
        assert!(raw(dir.path()).query_row(sql, [table], |row| row.get::<_, bool>(0)).unwrap(), "{table}");
    }
}

#[tokio::test]
async fn a_value_that_a_person_broke_is_refused_with_its_row_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    for n in [1, 2] {
        shop.create_order(&order(n)).await.unwrap();
        shop.create_payment(&transaction(n)).await.unwrap();
    }
    for (column, value, fault) in [
        ("state", "'lost'", "the state of 7000000000000001: \"lost\" is not a known value"),
        ("currency", "'Taler'", "the currency of 7000000000000001: \"Taler\" is not a known value"),
        (
            "document",
            "'{}'",
            "the document of 7000000000000001: it is not what was ordered, as JSON, at line 1 column 2",
        ),
        ("notice", "'told'", "the notice of 7000000000000001: \"told\" is not a known value"),
    ] {
        raw(dir.path())
            .execute_batch(&format!(
                "CREATE TABLE kept AS SELECT {column} AS old FROM shop_orders WHERE order_id = 7000000000000001;
                 UPDATE shop_orders SET {column} = {value} WHERE order_id = 7000000000000001"
            ))
            .unwrap();
        let read = shop.order(order(1).order_id, ReadGuarantee::Committed).await.unwrap_err();
        let created = shop.create_order(&order(1)).await.unwrap_err();
        for error in [read, created] {
            assert!(matches!(error, StoreError::Refused { .. }), "{error}");
            assert!(error.to_string().contains(fault), "{error}");
        }
        assert!(shop.order(order(2).order_id, ReadGuarantee::Committed).await.unwrap().is_some());
        raw(dir.path())
            .execute_batch(&format!(
                "UPDATE shop_orders SET {column} = (SELECT old FROM kept) WHERE order_id = 7000000000000001;
                 DROP TABLE kept"
            ))
            .unwrap();
    }
    assert_eq!(shop.order(order(1).order_id, ReadGuarantee::Committed).await.unwrap(), Some(order(1)));
    for (change, fault) in [
        ("attempt = 1", "the attempt of 7000000000000001: only one of order_id and attempt is null"),
        (
            "attempt = NULL, card_last_four = '1234567'",
            "the card_last_four of 7000000000000001: it is not four digits",
        ),
    ] {
        let update = format!("UPDATE shop_payments SET {change} WHERE payment_id = 7000000000000001");
        raw(dir.path()).execute_batch(&update).unwrap();
        let error = shop.payment(transaction(1).payment_id, ReadGuarantee::Committed).await.unwrap_err();
        assert!(error.to_string().ends_with(fault), "{error}");
    }
}

#[tokio::test]
async fn pages_of_large_orders_end_early_and_leave_none_out() {
    const LARGE: usize = 300 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    for n in 1..=40 {
        let mut large = order(n);
        large.document.shipping_address = "x".repeat(LARGE);
        shop.create_order(&large).await.unwrap();
    }
    let (mut place, mut pages) = (None, Vec::new());
    loop {
        let page = shop.orders_after(place, 1_000).await.unwrap();
        pages.push(page.records.len());
        match page.next {
            Some(next) => place = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, [14, 14, 12], "4 MiB and one order");
    assert_eq!(shop.orders_of_customer(7, None, 1_000).await.unwrap().records.len(), 14);
    let all: Vec<OrderRecord> = shop.orders().try_collect().await.unwrap();
    assert_eq!(all.len(), 40);
}

#[tokio::test]
async fn scans_of_more_rows_than_a_page_leave_none_out() {
    const ROWS: i64 = 2_500;
    let dir = tempfile::tempdir().unwrap();
    let shop = shop(dir.path());
    // All due at a few times.
    let due_at = |n: i64| Some(NOW + n % 3);
    let payments: Vec<_> =
        (1..=ROWS).map(|n| PaymentRecord { due_at: due_at(n), ..transaction(n) }).collect();
    let orders: Vec<_> = (1..=ROWS).map(|n| OrderRecord { due_at: due_at(n), ..order(n) }).collect();
    let created = futures_util::future::join_all(payments.iter().map(|payment| shop.create_payment(payment)));
    assert!(created.await.into_iter().all(|created| created.unwrap().is_new));
    let created = futures_util::future::join_all(orders.iter().map(|order| shop.create_order(order)));
    assert!(created.await.into_iter().all(|created| created.unwrap().is_new));
    let all: Vec<PaymentRecord> = shop.payments().try_collect().await.unwrap();
    assert_eq!(all, payments);
    let all: Vec<OrderRecord> = shop.orders().try_collect().await.unwrap();
    assert_eq!(all, orders);
    let due: Vec<i64> = shop.due_payments(NOW, NOW + 2).try_collect().await.unwrap();
    let mut expected: Vec<_> = payments.iter().filter(|payment| payment.due_at != Some(NOW)).collect();
    expected.sort_by_key(|payment| (payment.due_at, payment.payment_id));
    assert_eq!(due, expected.into_iter().map(|payment| payment.payment_id).collect::<Vec<_>>());
    let due: Vec<_> = shop.due_orders(NOW - 1, NOW + 1).try_collect().await.unwrap();
    let mut expected: Vec<_> = orders.iter().filter(|order| order.due_at != Some(NOW + 2)).collect();
    expected.sort_by_key(|order| (order.due_at, order.order_id));
    assert_eq!(due, expected.into_iter().map(|order| order.order_id).collect::<Vec<_>>());
}
