//! The events of one order, derived from `(seed, order_id)` and the mixture alone.

use std::borrow::Cow;
use std::sync::LazyLock;

use fake::Fake;
use fake::faker::address::en::{CityName, StateAbbr, StreetName};
use fake::faker::name::en::Name;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::draw::{PlanPurpose, one_of, rng};
use crate::invalid::{self, Defect};
use crate::mixture::Mixture;
use crate::planned::{EventContent, PlannedEvent};
use ecom_codec::body::{self, NoCard};
use ecom_codec::screen::{ScreenedBody, screen};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::{CardLastFour, Payment};
use ecom_domain::reason::Reason;

/// Items and their approximate prices, in cents.
const ITEMS: [(&str, u32); 16] = [
    ("Laptop", 119_900),
    ("Phone", 69_900),
    ("Tablet", 44_900),
    ("Monitor", 24_900),
    ("Book", 1_890),
    ("Headphones", 12_900),
    ("Mechanical Keyboard", 8_990),
    ("Wireless Mouse", 3_490),
    ("USB-C Dock", 17_900),
    ("Webcam", 7_990),
    ("Espresso Machine", 38_900),
    ("Desk Lamp", 4_590),
    ("Office Chair", 27_500),
    ("Backpack", 6_900),
    ("Smart Watch", 21_900),
    ("E-Reader", 13_900),
];
const STATUSES: [&str; 4] = ["Pending", "Shipped", "Delivered", "Cancelled"];
/// Payment methods, and whether they have a card.
const METHODS: [(&str, bool); 7] = [
    ("Credit Card", true),
    ("Debit Card", true),
    ("Apple Pay", true),
    ("Google Pay", true),
    ("PayPal", false),
    ("Bank Transfer", false),
    ("Gift Voucher", false),
];
const PAYMENT_STATUSES: [&str; 5] = ["Completed", "Completed", "Completed", "Pending", "Failed"];

/// The events of one order id of a scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct OrderCase {
    /// The order id.
    pub order_id: OrderId,
    /// True if its order is never published.
    pub missing: bool,
    /// True if its order is published late.
    pub late: bool,
    /// True if its order event is published twice.
    pub order_duplicate: bool,
    /// True if a newer order event follows.
    pub order_update: bool,
    /// True if its payment event is published twice.
    pub payment_duplicate: bool,
    /// True if a newer payment follows.
    pub second_payment: bool,
    /// An additional bad message on the orders topic.
    pub invalid_order: Option<Defect>,
    /// An additional bad message on the payments topic.
    pub invalid_payment: Option<Defect>,
    seed: u64,
    month: u32,
    day: u32,
}

impl OrderCase {
    /// Returns the case of this order id.
    pub fn of(seed: u64, mixture: &Mixture, order_id: OrderId) -> Self {
        let rng = &mut rng(seed, order_id, 0, PlanPurpose::Traits);
        let mut drawn = |share: f64| rng.random::<f64>() < share;
        let missing = drawn(mixture.missing_orders);
        let late = drawn(mixture.late_orders) && !missing;
        let order_duplicate = drawn(mixture.duplicates) && !missing;
        let order_update = drawn(mixture.order_updates) && !missing;
        let payment_duplicate = drawn(mixture.duplicates);
        let second_payment = drawn(mixture.second_payments);
        let (bad_order, bad_payment) = (drawn(mixture.invalid), drawn(mixture.invalid));
        let mut defect = |kind| Defect::all(kind).nth(rng.random_range(0..Defect::COUNT));
        let (order_defect, payment_defect) = (defect(EventKind::Order), defect(EventKind::Payment));
        Self {
            order_id,
            missing,
            late,
            order_duplicate,
            order_update,
            payment_duplicate,
            second_payment,
            invalid_order: order_defect.filter(|_| bad_order),
            invalid_payment: payment_defect.filter(|_| bad_payment),
            seed,
            month: rng.random_range(1..=12),
            day: rng.random_range(1..=28),
        }
    }

    /// Returns the number of its messages of this kind.
    pub(super) fn messages(&self, kind: EventKind) -> usize {
        let more = match kind {
            EventKind::Order if self.missing => [false, false, false, self.invalid_order.is_some()],
            EventKind::Order => [true, self.order_update, self.order_duplicate, self.invalid_order.is_some()],
            EventKind::Payment => {
                [true, self.second_payment, self.payment_duplicate, self.invalid_payment.is_some()]
            }
        };
        more.into_iter().filter(|there| *there).count()
    }

    /// Returns its messages on the orders topic, in publishing order. Positions count from 0.
    pub fn order_events(&self) -> Vec<PlannedEvent> {
        let mut events = Vec::with_capacity(2);
        if !self.missing {
            let rng = &mut rng(self.seed, self.order_id, 0, PlanPurpose::Order);
            let order = self.order(rng);
            let first = body::order(&order);
            let update = self.order_update.then(|| self.updated(rng, &order));
            let duplicate = self.order_duplicate.then(|| EventContent::Order(order.clone()));
            push(&mut events, self.order_id, EventContent::Order(order), first.clone(), None);
            if let Some(update) = update {
                let body = body::order(&update);
                push(&mut events, self.order_id, EventContent::Order(update), body, None);
            }
            if let Some(order) = duplicate {
                push(&mut events, self.order_id, order, first, Some(0));
            }
        }
        if let Some(defect) = self.invalid_order {
            let order = self.order(&mut rng(self.seed, self.order_id, 0, PlanPurpose::BadOrder));
            let body = invalid::order(&order, defect);
            push_bad(&mut events, EventKind::Order, self.order_id, body, defect);
        }
        events
    }

    /// Returns its messages on the payments topic, in publishing order. Positions count from 0.
    pub fn payment_events(&self) -> Vec<PlannedEvent> {
        let mut events = Vec::with_capacity(2);
        let (payment, first) = self.payment(PlanPurpose::Payment, 0);
        let duplicate = self.payment_duplicate.then(|| EventContent::Payment(payment.clone()));
        push(&mut events, self.order_id, EventContent::Payment(payment), first.clone(), None);
        if self.second_payment {
            let (payment, body) = self.payment(PlanPurpose::SecondPayment, 1);
            push(&mut events, self.order_id, EventContent::Payment(payment), body, None);
        }
        if let Some(payment) = duplicate {
            push(&mut events, self.order_id, payment, first, Some(0));
        }
        if let Some(defect) = self.invalid_payment {
            let (payment, _) = self.payment(PlanPurpose::BadPayment, 8);
            let body = invalid::payment(&payment, defect);
            push_bad(&mut events, EventKind::Payment, self.order_id, body, defect);
        }
        events
    }

    fn order(&self, rng: &mut ChaCha8Rng) -> Order<'static> {
        let (item, price) = one_of(rng, &ITEMS);
        let cents = price * rng.random_range(80..=120) / 100 + rng.random_range(0..100);
        Order {
            order_id: self.order_id,
            customer_id: rng.random_range(1..=50_000),
            item: Cow::Borrowed(item),
            quantity: rng.random_range(1..=5),
            price: f64::from(cents) / 100.0,
            shipping_address: Cow::Owned(address(rng)),
            order_status: Cow::Borrowed(one_of(rng, &STATUSES)),
            creation_date: Cow::Owned(format!("2024-{:02}-{:02}", self.month, self.day)),
        }
    }

    /// Returns a newer event of the same order, with another status and sometimes another address.
    fn updated(&self, rng: &mut ChaCha8Rng, order: &Order<'static>) -> Order<'static> {
        let mut update = order.clone();
        let current = STATUSES.iter().position(|status| *status == order.order_status).unwrap_or_default();
        update.order_status =
            STATUSES[(current + rng.random_range(1..STATUSES.len())) % STATUSES.len()].into();
        if rng.random::<bool>() {
            update.shipping_address = Cow::Owned(address(rng));
        }
        update
    }

    /// Returns a payment of this order and its body. Its id and its hour depend on `nth`.
    fn payment(&self, purpose: PlanPurpose, nth: u8) -> (Payment<'static>, bytes::Bytes) {
        let rng = &mut rng(self.seed, self.order_id, 0, purpose);
        let (method, has_card) = one_of(rng, &METHODS);
        let card = format!("{:04}", rng.random_range(0..10_000));
        let no_card = if rng.random::<bool>() { NoCard::Null } else { NoCard::Omitted };
        let (hour, minute) = (rng.random_range(0..12) + nth.min(1) * 12, rng.random_range(0..60));
        let payment = Payment {
            payment_id: self.order_id.0 * 10 + 1 + i64::from(nth),
            order_id: self.order_id,
            payment_method: Cow::Borrowed(method),
            card_last_four: CardLastFour::try_new(&card).filter(|_| has_card),
            payment_status: Cow::Borrowed(one_of(rng, &PAYMENT_STATUSES)),
            payment_datetime: Cow::Owned(format!(
                "2024-{:02}-{:02}T{hour:02}:{minute:02}:{:02}Z",
                self.month,
                self.day,
                rng.random_range(0..60)
            )),
        };
        let body = body::payment(&payment, no_card);
        (payment, body)
    }
}

/// The parts of addresses, generated once: the library formats each of them several times.
static ADDRESS_PARTS: LazyLock<[AddressParts; ADDRESSES]> = LazyLock::new(|| {
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    std::array::from_fn(|_| AddressParts {
        name: Name().fake_with_rng(rng),
        street: StreetName().fake_with_rng(rng),
        city: CityName().fake_with_rng(rng),
        state: StateAbbr().fake_with_rng(rng),
    })
});

/// Addresses of which each part is drawn.
const ADDRESSES: usize = 1_000;

struct AddressParts {
    name: String,
    street: String,
    city: String,
    state: String,
}

fn address(rng: &mut ChaCha8Rng) -> String {
    let mut part = || &ADDRESS_PARTS[rng.random_range(0..ADDRESSES)];
    let (AddressParts { name, .. }, AddressParts { street, .. }, AddressParts { city, state, .. }) =
        (part(), part(), part());
    let (building, zip) = (rng.random_range(1..10_000), rng.random_range(10_000..100_000));
    format!("{name}, {building} {street}, {city}, {state} {zip}")
}

/// Appends a message. A copy names the position of the first message of its event in `copy_of`.
fn push(
    events: &mut Vec<PlannedEvent>,
    order_id: OrderId,
    content: EventContent,
    body: bytes::Bytes,
    copy_of: Option<u64>,
) {
    let kind = match content {
        EventContent::Order(_) => EventKind::Order,
        EventContent::Payment(_)
        | EventContent::Rejected(_)
        | EventContent::Masked(_)
        | EventContent::Foreign => EventKind::Payment,
    };
    let sequence = events.len() as u64;
    let event = copy_of.unwrap_or(sequence);
    events.push(PlannedEvent { kind, order_id: Some(order_id), body, content, sequence, event });
}

/// Appends a bad message.
fn push_bad(
    events: &mut Vec<PlannedEvent>,
    kind: EventKind,
    order_id: OrderId,
    body: bytes::Bytes,
    defect: Defect,
) {
    let sequence = events.len() as u64;
    let content = match (defect.reason(), screen(&body)) {
        (Reason::PanDetected, ScreenedBody::Masked { body, .. }) => EventContent::Masked(body.into_bytes()),
        (reason, _) => EventContent::Rejected(reason),
    };
    events.push(PlannedEvent { kind, order_id: Some(order_id), body, content, sequence, event: sequence });
}
