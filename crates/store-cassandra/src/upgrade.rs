//! What a keyspace of an earlier version needs beside `schema.cql`: the index by order, filled from the
//! dead letters that are there.

use std::ops::ControlFlow;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::client::session::Session;
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;

use super::errors::Cause;
use super::schema::in_keyspace;
use super::session::{ConnectError, Trouble};
use super::settings::CassandraSettings;
use super::statements::RECORD_BY_ORDER;
use ecom_domain::dead_letter::BUCKETS;

/// The column that is added last: a table of dead letters without it is of an earlier version.
pub(super) const LATEST_COLUMN: &str = ".dead_letters.corrects";

/// Partitions that have dead letters are found by day.
const DAYS: &str = "SELECT day FROM ecom_store.dead_letter_days";
/// What the index keeps of a partition's dead letters.
const DEAD_LETTERS: &str = "SELECT order_id, t, id FROM ecom_store.dead_letters WHERE day = ? AND bucket = ?";
/// Rows a page.
const PAGE: i32 = 4_000;
/// Lines written at once.
const CONCURRENCY: usize = 64;

/// A dead letter's order, T and id; an act that came before its dead letter left neither order nor T.
type Line = (Option<i64>, Option<i64>, String);

/// Whether these troubles are those of a keyspace whose dead letters are of an earlier version.
pub(super) fn is_due(troubles: &[Trouble], keyspace: &str) -> bool {
    let latest = format!("{keyspace}{LATEST_COLUMN}");
    troubles.iter().any(|trouble| matches!(trouble, Trouble::NoColumn { name, .. } if *name == latest))
}

/// Writes every dead letter's line in the index, at its T; repeated, it changes nothing.
pub(super) async fn fill_dead_letters_by_order(
    session: &Session,
    settings: &CassandraSettings,
) -> Result<(), ConnectError> {
    let fill = async {
        let prepare = async |cql| -> Result<PreparedStatement, Cause> {
            let mut statement = session.prepare(in_keyspace(cql, &settings.keyspace)).await?;
            statement.set_is_idempotent(true);
            statement.set_page_size(PAGE);
            Ok(statement)
        };
        let (days, dead_letters) = (prepare(DAYS).await?, prepare(DEAD_LETTERS).await?);
        let record = prepare(RECORD_BY_ORDER).await?;
        let answer = session.execute_unpaged(&days, ()).await?.into_rows_result()?;
        let days = answer.rows::<(i32,)>()?.collect::<Result<Vec<_>, _>>()?;
        for (day,) in days {
            for bucket in 0..i16::from(BUCKETS) {
                let mut next = Some(PagingState::start());
                while let Some(from) = next {
                    let (answer, state) =
                        session.execute_single_page(&dead_letters, (day, bucket), from).await?;
                    let answer = answer.into_rows_result()?;
                    let lines = answer.rows::<Line>()?.collect::<Result<Vec<_>, _>>()?;
                    write(session, &record, lines).await?;
                    next = match state.into_paging_control_flow() {
                        ControlFlow::Continue(state) => Some(state),
                        ControlFlow::Break(()) => None,
                    };
                }
            }
        }
        Ok::<_, Cause>(())
    };
    fill.await.map_err(|cause| cause.at("fill the index of dead letters by order", &settings.name()).into())
}

async fn write(session: &Session, record: &PreparedStatement, lines: Vec<Line>) -> Result<(), Cause> {
    let lines = lines.into_iter().filter_map(|(order, t, id)| Some((order?, t?, id)));
    stream::iter(lines)
        .map(|(order, t, id)| async move {
            session.execute_unpaged(record, (order, t, id, t)).await.map(drop).map_err(Cause::from)
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::{self, CheckState};
    use crate::session::CassandraStore;
    use crate::testing::in_keyspace;
    use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, EventKind};
    use ecom_domain::event_time::EventTime;
    use ecom_domain::order::OrderId;
    use ecom_store::DeadLetterStore;

    #[tokio::test]
    async fn a_keyspace_of_an_earlier_version_is_named_and_brought_up_to_date_with_its_dead_letters() {
        in_keyspace("upgrade", async |scratch| {
            for table in
                ["dead_letters_by_order", "role_heartbeats", "bulk_operations", "bulk_operation_batches"]
            {
                scratch.cql(&format!("DROP TABLE ecom_store.{table}")).await;
            }
            scratch.cql("ALTER TABLE ecom_store.dead_letters DROP corrects").await;
            let t = 1_705_831_290_000_000;
            let id = DeadLetterId::of(EventKind::Payment, EventTime::stored(t), b"{}");
            scratch.cql("INSERT INTO ecom_store.dead_letter_days (day) VALUES (20240121)").await;
            scratch
                .cql(&format!(
                    "INSERT INTO ecom_store.dead_letters (day, bucket, id, kind, t, body, reason, order_id) \
                     VALUES (20240121, {}, '{id}', 'payment', {t}, 0x7b7d, 'order_not_found', 7) \
                     USING TIMESTAMP {t}",
                    id.bucket()
                ))
                .await;

            let error = CassandraStore::connect(&scratch.settings).await.expect_err("an earlier version");
            assert!(error.to_string().contains(".dead_letters.corrects is missing"), "{error}");
            let bad = |lines: Vec<provision::Check>| -> Vec<provision::Check> {
                lines.into_iter().filter(|line| line.state != CheckState::Present).collect()
            };
            let lines = bad(provision::check(&scratch.settings).await);
            assert_eq!(lines.len(), 5, "{lines:?}");
            assert!(lines.iter().all(|line| line.fix.as_deref() == Some("ecom_setup")), "{lines:?}");

            assert_eq!(bad(provision::apply(&scratch.settings).await.expect("applied")), []);
            let store = CassandraStore::connect(&scratch.settings).await.expect("up to date");
            let dead_letters: Vec<DeadLetterRecord> =
                store.dead_letters_of(OrderId(7)).try_collect().await.expect("read");
            assert_eq!(
                dead_letters.into_iter().map(|record| record.dead_letter.id).collect::<Vec<_>>(),
                [id]
            );
        })
        .await;
    }
}
