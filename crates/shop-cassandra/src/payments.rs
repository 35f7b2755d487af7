//! The payment store port on Cassandra.

use async_trait::async_trait;
use futures_util::future::try_join;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use scylla::SerializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::value::MaybeUnset;

use super::cells::Cells;
use super::lists::{self, CHUNK, Due, HOURS, Hint, NEWEST, Step};
use super::store::CassandraShop;
use ecom_domain::order::OrderId;
use ecom_domain::payment::CardLastFour;
use ecom_shop_domain::identity::RequestKey;
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_store::{Created, Cursor, Page, PaymentStore, ReadGuarantee};
use ecom_store::StoreError;
use ecom_store_cassandra::StatementError;

#[async_trait]
impl PaymentStore for CassandraShop {
    async fn create_payment(&self, payment: &PaymentRecord) -> Result<Created<PaymentRecord>, StoreError> {
        let write = async {
            let hints = [
                Some(Hint::of_payment(None, place_of(payment))),
                Some(state_hint(payment)),
                due_hint(payment),
            ];
            let hour = self.register_hour(payment.created_at);
            try_join(hour, self.record_hints(hints.into_iter().flatten())).await?;
            self.create(&self.statements.payments, created(payment), payment, decode).await
        };
        write.await.map_err(|error| error.at("create a payment", self.store.name()))
    }

    async fn move_payment(&self, next: &PaymentRecord) -> Result<Option<PaymentRecord>, StoreError> {
        let write = async {
            self.record_hints([Some(state_hint(next)), due_hint(next)].into_iter().flatten()).await?;
            let id = next.payment_id;
            self.move_to(&self.statements.payments, moved(next), (id, next), decode).await
        };
        write.await.map_err(|error| error.at("move a payment", self.store.name()))
    }

    async fn payment(
        &self,
        payment_id: i64,
        guarantee: ReadGuarantee,
    ) -> Result<Option<PaymentRecord>, StoreError> {
        let read = self.record(&self.statements.payments, payment_id, guarantee, decode);
        read.await.map_err(|error| error.at("read a payment", self.store.name()))
    }

    /// A page is short where many hints are not true, as most are in the lists of a state that payments leave, or where many
    /// hours have none.
    async fn payments_before(
        &self,
        state: Option<PaymentState>,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Page<PaymentRecord, Cursor>, StoreError> {
        let before = before.unwrap_or(NEWEST);
        let its_hour = Cursor { at: lists::hour_of(before.at), id: i64::MAX };
        let steps = self
            .hints(vec![HOURS.to_owned()], its_hour, CHUNK)
            .map_ok(|hour| {
                let hints = self.hints(lists::payments_of(state, hour.at), before, lists::chunk_for(limit));
                hints.map_ok(Step::Hint).chain(stream::iter([Ok(Step::EndOfHour(hour.at))]))
            })
            .try_flatten();
        let read = |hint: Cursor| async move {
            let statements = &self.statements.payments;
            let payment = self.record(statements, hint.id, ReadGuarantee::Committed, decode).await?;
            let is_of_state = |payment: &PaymentRecord| state.is_none_or(|state| payment.state == state);
            Ok(payment.filter(|payment| payment.created_at == hint.at && is_of_state(payment)))
        };
        let page = lists::page(steps, limit, read);
        page.await.map_err(|error| error.at("read payments", self.store.name()))
    }

    /// Reads a list for every minute of the range, also for those in which nothing was due.
    fn due_payments(&self, after: i64, through: i64) -> BoxStream<'_, Result<i64, StoreError>> {
        self.due("read due payments", Due::Payments, after, through)
    }

    fn payments(&self) -> BoxStream<'_, Result<PaymentRecord, StoreError>> {
        const WHAT: &str = "read all payments";
        let rows = self.store.rows::<Cells, _>(WHAT, &self.statements.payments.all, ());
        rows.map(|row| decode(row?).map_err(|error| error.at(WHAT, self.store.name()))).boxed()
    }
}

fn place_of(payment: &PaymentRecord) -> Cursor {
    Cursor { at: payment.created_at, id: payment.payment_id }
}

fn state_hint(payment: &PaymentRecord) -> Hint {
    Hint::of_payment(Some((payment.state, payment.state_at)), place_of(payment))
}

fn due_hint(payment: &PaymentRecord) -> Option<Hint> {
    Some(Hint::of_due(Due::Payments, payment.due_at?, payment.payment_id, payment.state_at))
}

/// The values of `CREATE_PAYMENT`. Absent values are left unset: a null would write a tombstone.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
struct CreatedPayment<'a> {
    payment_id: i64,
    account: &'a str,
    idempotency_key: &'a str,
    fingerprint: &'a str,
    order_id: MaybeUnset<i64>,
    attempt: MaybeUnset<i64>,
    sender: &'a str,
    receiver: &'a str,
    payment_method: MaybeUnset<&'a str>,
    card_last_four: MaybeUnset<&'a str>,
    amount_minor: i64,
    currency: &'static str,
    created_at: i64,
    state: &'static str,
    state_at: i64,
    processing_at: MaybeUnset<i64>,
    revision: i64,
    due_at: MaybeUnset<i64>,
    error_message: MaybeUnset<&'a str>,
}

fn created(payment: &PaymentRecord) -> CreatedPayment<'_> {
    CreatedPayment {
        payment_id: payment.payment_id,
        account: &payment.request.account,
        idempotency_key: &payment.request.key,
        fingerprint: &payment.fingerprint,
        order_id: MaybeUnset::from_option(payment.of_order.map(|(order_id, _)| order_id.0)),
        attempt: MaybeUnset::from_option(payment.of_order.map(|(_, attempt)| attempt)),
        sender: &payment.sender,
        receiver: &payment.receiver,
        payment_method: MaybeUnset::from_option(payment.payment_method.as_deref()),
        card_last_four: MaybeUnset::from_option(payment.card_last_four.as_ref().map(CardLastFour::as_str)),
        amount_minor: payment.amount_minor,
        currency: payment.currency.code(),
        created_at: payment.created_at,
        state: payment.state.as_str(),
        state_at: payment.state_at,
        processing_at: MaybeUnset::from_option(payment.processing_at),
        revision: payment.revision,
        due_at: MaybeUnset::from_option(payment.due_at),
        error_message: MaybeUnset::from_option(payment.error_message.as_deref()),
    }
}

/// Returns the values of `MOVE_PAYMENT`. Absent values are null: the state before may have had them.
fn moved(next: &PaymentRecord) -> impl SerializeRow {
    (
        next.state.as_str(),
        next.state_at,
        next.processing_at,
        next.revision,
        next.due_at,
        next.error_message.as_deref(),
        next.payment_id,
        next.revision.saturating_sub(1),
    )
}

/// Decodes a payment.
fn decode(cells: Cells) -> Result<PaymentRecord, StatementError> {
    let mut cells = cells.named("payment", "payment_id");
    let of_order = match (cells.optional_number("order_id")?, cells.optional_number("attempt")?) {
        (Some(order_id), Some(attempt)) => Some((OrderId(order_id), attempt)),
        (None, None) => None,
        (Some(_), None) => return Err(cells.fault("attempt", "is null")),
        (None, Some(_)) => return Err(cells.fault("order_id", "is null")),
    };
    let card_last_four = match cells.optional_text("card_last_four")? {
        // The value is not shown: it may be more of a card number.
        Some(card) => Some(
            CardLastFour::try_new(&card)
                .ok_or_else(|| cells.fault("card_last_four", "is not four digits"))?,
        ),
        None => None,
    };
    Ok(PaymentRecord {
        payment_id: cells.number("payment_id")?,
        request: RequestKey { account: cells.text("account")?, key: cells.text("idempotency_key")? },
        fingerprint: cells.text("fingerprint")?,
        of_order,
        sender: cells.text("sender")?,
        receiver: cells.text("receiver")?,
        payment_method: cells.optional_text("payment_method")?,
        card_last_four,
        amount_minor: cells.number("amount_minor")?,
        currency: cells.word("currency", Currency::try_new)?,
        created_at: cells.number("created_at")?,
        state: cells.word("state", PaymentState::parse)?,
        state_at: cells.number("state_at")?,
        processing_at: cells.optional_number("processing_at")?,
        revision: cells.number("revision")?,
        due_at: cells.optional_number("due_at")?,
        error_message: cells.optional_text("error_message")?,
    })
}
