//! Lists of hints: where to look for records.
//!
//! A hint is the time and the id of a record. It is written, and acknowledged, before the record or the move that makes it
//! true, so that no record is missing from its lists. One that is not true, because the process ended in between or
//! because the record has moved on, is passed over by whoever reads it.

use std::ops::RangeInclusive;

use futures_util::future::{ready, try_join_all};
use futures_util::pin_mut;
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use scylla::response::PagingState;

use super::store::CassandraShop;
use ecom_domain::calendar::{DATED, date_time};
use ecom_shop_domain::payment::PaymentState;
use ecom_shop_store::{Cursor, Page};
use ecom_store::StoreError;
use ecom_store_cassandra::StatementError;

/// A minute, in microseconds.
const MINUTE: i64 = 60 * 1_000_000;
/// An hour, in microseconds.
const HOUR: i64 = 60 * MINUTE;
/// The lists into which the payments of an hour are shared out.
const BUCKETS: i64 = 16;
/// The list of the hours that have payments.
pub(super) const HOURS: &str = "payments/hours";
/// The hours, or the fewest hints, read at once.
pub(super) const CHUNK: usize = 24;
/// The most hints read at once.
const MAX_CHUNK: usize = 200;
/// The records of a page that are read concurrently.
const RECORDS_AHEAD: usize = 16;
/// The lists of minutes that are read concurrently.
const MINUTES_AHEAD: usize = 16;

/// The place before which every hint is.
pub(super) const NEWEST: Cursor = Cursor { at: i64::MAX, id: i64::MAX };

/// A kind of record that becomes due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Orders,
    Payments,
}

impl Due {
    fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
        }
    }
}

/// A hint that is about to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hint {
    list: String,
    t: i64,
    id: i64,
    /// The write timestamp. It follows from the record: what is written again is the same cell.
    written_at: i64,
}

impl Hint {
    /// Returns the hint at an order of a customer.
    pub(super) fn of_customer(customer_id: i64, order: Cursor) -> Self {
        Self { list: of_customer(customer_id), t: order.at, id: order.id, written_at: order.at }
    }

    /// Returns the hint at a payment among those of its hour, all of them or those in a state since `state_at`.
    pub(super) fn of_payment(state: Option<(PaymentState, i64)>, payment: Cursor) -> Self {
        let list = payments(state.map(|(state, _)| state), hour_of(payment.at), bucket_of(payment.id));
        let written_at = state.map_or(payment.at, |(_, state_at)| state_at);
        Self { list, t: payment.at, id: payment.id, written_at }
    }

    /// Returns the hint at a record that is due at a time, as of its state since `state_at`.
    pub(super) fn of_due(due: Due, due_at: i64, id: i64, state_at: i64) -> Self {
        Self { list: due_in(due, minute_of(due_at)), t: due_at, id, written_at: state_at }
    }
}

/// Returns the name of the list of a customer's orders.
pub(super) fn of_customer(customer_id: i64) -> String {
    format!("orders/customer/{customer_id}")
}

/// Returns the names of the lists that share out the payments of an hour, all of them or those of a state.
pub(super) fn payments_of(state: Option<PaymentState>, hour: i64) -> Vec<String> {
    (0..BUCKETS).map(|bucket| payments(state, hour, bucket)).collect()
}

fn payments(state: Option<PaymentState>, hour: i64, bucket: i64) -> String {
    let hour = date_time(hour).format("%Y%m%d%H");
    match state {
        Some(state) => format!("payments/{}/{hour}/{bucket}", state.as_str()),
        None => format!("payments/{hour}/{bucket}"),
    }
}

fn due_in(due: Due, minute: i64) -> String {
    format!("due/{}/{}", due.as_str(), date_time(minute.saturating_mul(MINUTE)).format("%Y%m%d%H%M"))
}

fn bucket_of(id: i64) -> i64 {
    id.rem_euclid(BUCKETS)
}

/// Returns the start of the hour of a time; of a time that has no date, that of the nearest one that has.
pub(super) fn hour_of(micros: i64) -> i64 {
    dated(micros) / HOUR * HOUR
}

/// Returns the number of the minute of a time, from the epoch.
fn minute_of(micros: i64) -> i64 {
    dated(micros) / MINUTE
}

fn dated(micros: i64) -> i64 {
    micros.clamp(*DATED.start(), *DATED.end())
}

/// Returns the minutes whose lists have what is due after `after` and no later than `through`.
fn minutes(after: i64, through: i64) -> RangeInclusive<i64> {
    let last = if after < through { minute_of(through) } else { i64::MIN };
    minute_of(after)..=last
}

/// Returns how many hints to read at once for a page of `limit` records.
pub(super) fn chunk_for(limit: usize) -> usize {
    limit.saturating_add(1).clamp(CHUNK, MAX_CHUNK)
}

impl CassandraShop {
    /// Writes hints.
    pub(super) async fn record_hints(
        &self,
        hints: impl IntoIterator<Item = Hint>,
    ) -> Result<(), StatementError> {
        try_join_all(hints.into_iter().map(|hint| self.record_hint(hint))).await.map(drop)
    }

    async fn record_hint(&self, hint: Hint) -> Result<(), StatementError> {
        let values = (hint.list, hint.t, hint.id, hint.written_at);
        self.store.session().execute_unpaged(&self.statements.record_hint, values).await?;
        Ok(())
    }

    /// Registers the hour of a payment that is about to be recorded, so that lists find it.
    pub(super) async fn register_hour(&self, created_at: i64) -> Result<(), StatementError> {
        let hour = hour_of(created_at);
        if !self.registered.contains(hour) {
            self.record_hint(Hint { list: HOURS.to_owned(), t: hour, id: 0, written_at: hour }).await?;
            self.registered.insert(hour);
        }
        Ok(())
    }

    /// Streams the hints of several lists together, newest first, those before a place; reads `chunk` at once.
    pub(super) fn hints(
        &self,
        lists: Vec<String>,
        before: Cursor,
        chunk: usize,
    ) -> impl Stream<Item = Result<Cursor, StatementError>> + Send + '_ {
        let limit = i32::try_from(chunk).unwrap_or(i32::MAX);
        stream::try_unfold((lists, Some(before)), move |(lists, before)| async move {
            let Some(before) = before else { return Ok::<_, StatementError>(None) };
            let (session, statement) = (self.store.session(), &self.statements.hints_before);
            let response =
                session.execute_unpaged(statement, (&lists, before.at, before.id, limit, limit)).await?;
            let mut hints = Vec::new();
            for hint in response.into_rows_result()?.rows::<(i64, i64)>()? {
                let (at, id) = hint?;
                hints.push(Cursor { at, id });
            }
            let next = hints.last().copied().filter(|_| hints.len() >= chunk);
            Ok(Some((stream::iter(hints.into_iter().map(Ok)), (lists, next))))
        })
        .try_flatten()
    }

    /// Streams the ids of what was due after `after` and no later than `through`, minute by minute.
    pub(super) fn due(
        &self,
        what: &'static str,
        due: Due,
        after: i64,
        through: i64,
    ) -> BoxStream<'_, Result<i64, StoreError>> {
        let statement = &self.statements.hints_due;
        stream::iter(minutes(after, through))
            .map(move |minute| async move {
                let values = (due_in(due, minute), after, through);
                let first = self.store.page::<(i64,), _>(what, statement, &values, PagingState::start());
                let first = first.await?;
                Ok(self.store.rows_after::<(i64,), _>(what, statement, values, first))
            })
            .buffered(MINUTES_AHEAD)
            .try_flatten()
            .map_ok(|(id,)| id)
            .boxed()
    }
}

/// Returns the first `limit` records of a list. `read` returns the record that a hint points to, and `None` if the hint is
/// not true.
pub(super) async fn page<R, F>(
    hints: impl Stream<Item = Result<Cursor, StatementError>> + Send,
    limit: usize,
    read: impl Fn(Cursor) -> F + Send,
) -> Result<Page<R, Cursor>, StatementError>
where
    F: Future<Output = Result<Option<R>, StatementError>> + Send,
{
    let found = hints
        .map_ok(|hint| {
            let read = read(hint);
            async move { Ok(read.await?.map(|record| (hint, record))) }
        })
        .try_buffered(RECORDS_AHEAD)
        .try_filter_map(|found| ready(Ok(found)));
    pin_mut!(found);
    let (mut records, mut last) = (Vec::new(), None);
    while let Some((hint, record)) = found.try_next().await? {
        if records.len() >= limit {
            return Ok(Page { records, next: last });
        }
        records.push(record);
        last = Some(hint);
    }
    Ok(Page { records, next: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-28 07:14:59.999999 UTC.
    const T: i64 = 1_795_850_099_999_999;

    #[test]
    fn lists_are_named_by_the_hour_the_minute_and_the_bucket() {
        let payment = Cursor { at: T, id: 7_000_000_000_000_037 };
        let hint = Hint::of_payment(Some((PaymentState::Failed, T + 5)), payment);
        assert_eq!(hint.list, "payments/Failed/2026112807/5");
        assert_eq!((hint.t, hint.id, hint.written_at), (T, payment.id, T + 5));
        assert_eq!(Hint::of_payment(None, payment).list, "payments/2026112807/5");
        assert_eq!(Hint::of_due(Due::Orders, T, 1, 2).list, "due/orders/202611280714");
        assert_eq!(Hint::of_due(Due::Payments, T + 1, 1, 2).list, "due/payments/202611280715");
        assert_eq!(Hint::of_customer(-7, payment).list, "orders/customer/-7");
    }

    #[test]
    fn a_hint_is_in_one_of_the_lists_that_are_read_for_its_hour() {
        for id in [0, 1, 15, 16, -1, i64::MIN, i64::MAX] {
            for at in [0, T, -1, i64::MIN, i64::MAX] {
                let hint = Hint::of_payment(None, Cursor { at, id });
                assert!(payments_of(None, hour_of(at)).contains(&hint.list), "{hint:?}");
            }
        }
    }

    #[test]
    fn every_minute_of_a_range_is_read_once_and_in_order() {
        let start = T / MINUTE * MINUTE;
        let lists = |after: i64, through: i64| -> Vec<String> {
            minutes(after, through).map(|minute| due_in(Due::Orders, minute)).collect()
        };
        assert_eq!(lists(start, start), [""; 0]);
        assert_eq!(lists(start + 1, start), [""; 0]);
        assert_eq!(lists(start - 1, start), ["due/orders/202611280713", "due/orders/202611280714"]);
        assert_eq!(lists(start, start + MINUTE - 1), ["due/orders/202611280714"]);
        assert_eq!(lists(i64::MIN, -5), ["due/orders/197001010000"]);
        assert_eq!(minutes(start, start + 7 * 24 * HOUR).count(), 7 * 24 * 60 + 1);
    }
}
