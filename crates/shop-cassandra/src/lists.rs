//! Lists of hints: where to look for records.
//!
//! A hint is the time and the id of a record. It is written, and acknowledged, before the record or the move that makes it
//! true, so that no record is missing from its lists. One that is not true, because the process ended in between or
//! because the record has moved on, is passed over by whoever reads it.

use std::ops::RangeInclusive;

use futures_util::future::try_join_all;
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

/// The reads after which a page ends, of records and lists, if it may have no record.
const READS: i64 = 1_000;
/// The reads more for each record that it may have.
const READS_A_RECORD: i64 = 4;

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

/// A step along lists, newest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A hint, which is true or not.
    Hint(Cursor),
    /// The end of the lists of an hour, by its start.
    EndOfHour(i64),
}

impl Step {
    /// Returns the place before which the next step is.
    fn place(self) -> Cursor {
        match self {
            Self::Hint(hint) => hint,
            Self::EndOfHour(at) => Cursor { at, id: i64::MIN },
        }
    }

    /// Returns the reads that the step takes: that of a record, or those of the lists of an hour.
    fn reads(self) -> i64 {
        match self {
            Self::Hint(_) => 1,
            Self::EndOfHour(_) => BUCKETS,
        }
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

/// Returns the reads after which a page of `limit` records ends.
fn most_reads(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(READS_A_RECORD).saturating_add(READS)
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

/// Returns at most `limit` records of lists. `read` returns the record that a hint points to, and `None` if the hint is not
/// true. Where too few hints are true, the page is short, or empty, and goes on from its `next` as any other.
pub(super) async fn page<R, F>(
    steps: impl Stream<Item = Result<Step, StatementError>> + Send,
    limit: usize,
    read: impl Fn(Cursor) -> F + Send,
) -> Result<Page<R, Cursor>, StatementError>
where
    F: Future<Output = Result<Option<R>, StatementError>> + Send,
{
    let taken = steps
        .map_ok(|step| {
            let read = match step {
                Step::Hint(hint) => Some(read(hint)),
                Step::EndOfHour(_) => None,
            };
            async move {
                let record = match read {
                    Some(read) => read.await?,
                    None => None,
                };
                Ok((step, record))
            }
        })
        .try_buffered(RECORDS_AHEAD);
    pin_mut!(taken);
    let mut left = most_reads(limit);
    let mut page = Page { records: Vec::new(), next: None };
    let mut last: Option<Cursor> = None;
    while let Some((step, record)) = taken.try_next().await? {
        if left <= 0 || (record.is_some() && page.records.len() >= limit) {
            page.next = last;
            break;
        }
        page.records.extend(record);
        left -= step.reads();
        // Hints before the epoch are in the lists of its first hour.
        last = Some(last.map_or(step.place(), |last| last.min(step.place())));
    }
    Ok(page)
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

    /// Reads pages to the end; returns the ids of each, with the reads that its steps took.
    async fn pages(steps: &[Step], limit: usize, is_true: fn(i64) -> bool) -> Vec<(Vec<i64>, i64)> {
        let (mut before, mut pages) = (NEWEST, Vec::new());
        loop {
            let mut reads = 0;
            let taken = steps.iter().filter(|step| step.place() < before).map(|step| {
                reads += step.reads();
                Ok(*step)
            });
            let record = |hint: Cursor| async move { Ok(is_true(hint.id).then_some(hint.id)) };
            let page = page(stream::iter(taken), limit, record).await.unwrap();
            pages.push((page.records, reads));
            match page.next {
                Some(next) => before = next,
                None => return pages,
            }
        }
    }

    #[tokio::test]
    async fn a_page_ends_after_so_many_reads_and_the_next_one_goes_on_from_there() {
        let hints = |ids: std::ops::Range<i64>| ids.rev().map(|id| Step::Hint(Cursor { at: id * HOUR, id }));
        let many: Vec<_> = hints(0..5_000).collect();
        let hours: Vec<_> = hints(500..900)
            .chain((100..500).rev().map(|hour| Step::EndOfHour(hour * HOUR)))
            .chain(hints(0..7))
            // As if all of them had been before the epoch, and thus in its first hour.
            .chain([Step::EndOfHour(7 * HOUR)])
            .collect();
        let rules: [fn(i64) -> bool; 5] =
            [|_| true, |_| false, |id| id % 2 == 0, |id| id % 1_300 == 5, |id| id < 5];
        for steps in [many, hours] {
            for is_true in rules {
                let of_step = |step: &Step| match step {
                    Step::Hint(hint) => is_true(hint.id).then_some(hint.id),
                    Step::EndOfHour(_) => None,
                };
                let all: Vec<i64> = steps.iter().filter_map(of_step).collect();
                for limit in [1, 3, 50, 10_000] {
                    let pages = pages(&steps, limit, is_true).await;
                    for (ids, reads) in &pages {
                        assert!(ids.len() <= limit);
                        let ahead = (RECORDS_AHEAD as i64 + 2) * BUCKETS;
                        assert!(*reads <= most_reads(limit) + ahead, "{reads} for {limit}");
                    }
                    let read: Vec<i64> = pages.into_iter().flat_map(|(ids, _)| ids).collect();
                    assert_eq!(read, all, "{limit}");
                }
            }
        }
    }
}
