//! The inventory: products, the units of each on hand and reserved, and which order has reserved how many.
//!
//! The stock of a product changes from one version to the next, together with the reservations of that change. So a
//! decision that was made on a version is written only if nothing has changed since.

use std::collections::BTreeMap;
use std::fmt;

use super::money::Currency;
use ecom_domain::order::OrderId;

/// A product, with its stock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// The stock keeping unit, which identifies it.
    pub sku: String,
    /// The name.
    pub name: String,
    /// The price of one, in minor units.
    pub price_minor: i64,
    /// The currency of the price.
    pub currency: Currency,
    /// The units.
    pub stock: Stock,
}

/// The units of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stock {
    /// Units that are there, reserved ones included.
    pub on_hand: i64,
    /// Of those, units that orders have reserved; 0 to `on_hand`.
    pub reserved: i64,
    /// Units that were ever put in: on hand and sold.
    pub stocked: i64,
    /// The number of changes of the product, from 1.
    pub version: i64,
}

impl Stock {
    /// Returns the units that can still be reserved.
    pub fn available(&self) -> i64 {
        self.on_hand - self.reserved
    }
}

/// The state of a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReservationState {
    /// The units are kept for the order.
    Reserved,
    /// The order was paid, and the units have left.
    Sold,
    /// The order ended without them, or never reserved them and never will.
    Released,
}

impl ReservationState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Reserved, Self::Sold, Self::Released];

    /// Returns the word of the state in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Sold => "sold",
            Self::Released => "released",
        }
    }

    /// Returns the state with this word; `None` if there is none.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// The reservation of an order, of one product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The units; 0 for an order that never reserved any.
    pub quantity: i64,
    /// The state.
    pub state: ReservationState,
}

/// What an order needs of the stock of a product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StockNeed {
    /// Keep this many units for it.
    Reserve(i64),
    /// Its units have left.
    Sell,
    /// It does not need them any more. Afterwards it cannot reserve any: a processor that was frozen since before the order
    /// ended finds that out.
    Release,
}

/// What became of a need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StockOutcome {
    /// The stock is as needed.
    Done,
    /// So few units are available.
    Short {
        /// Units that can still be reserved.
        available: i64,
    },
    /// Units cannot be reserved or sold, because they were released before.
    Released,
    /// Units cannot be released, because they were sold before.
    Sold,
    /// Units cannot be sold, because they were never reserved.
    NotReserved,
}

/// A change of the stock of a product, from the version it was decided on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StockChange {
    /// The product.
    pub sku: String,
    /// The stock afterwards. It is written only if the stored version is the one before.
    pub stock: Stock,
    /// The reservations that change, with their values afterwards.
    pub reservations: BTreeMap<OrderId, Reservation>,
}

/// Decides on needs of one product, in their order. Returns the change to write, `None` if there is nothing to change, and
/// what becomes of each need once it is written.
pub fn decide(
    sku: &str,
    stock: &Stock,
    reservations: &BTreeMap<OrderId, Reservation>,
    needs: &[(OrderId, StockNeed)],
) -> (Option<StockChange>, Vec<StockOutcome>) {
    let mut after = *stock;
    let mut changed = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(needs.len());
    for (order_id, need) in needs {
        let current = changed.get(order_id).or_else(|| reservations.get(order_id)).copied();
        let (outcome, next) = outcome(&mut after, current, *need);
        outcomes.push(outcome);
        if let Some(next) = next {
            changed.insert(*order_id, next);
        }
    }
    let change = (!changed.is_empty()).then(|| StockChange {
        sku: sku.to_owned(),
        stock: Stock { version: stock.version + 1, ..after },
        reservations: changed,
    });
    (change, outcomes)
}

/// Returns what becomes of a need, and the reservation afterwards if it changes.
fn outcome(
    stock: &mut Stock,
    current: Option<Reservation>,
    need: StockNeed,
) -> (StockOutcome, Option<Reservation>) {
    use ReservationState::{Released, Reserved, Sold};
    let state = current.map(|reservation| reservation.state);
    let quantity = current.map_or(0, |reservation| reservation.quantity);
    match (need, state) {
        (StockNeed::Reserve(_), Some(Reserved | Sold)) => (StockOutcome::Done, None),
        (StockNeed::Reserve(_) | StockNeed::Sell, Some(Released)) => (StockOutcome::Released, None),
        (StockNeed::Reserve(wanted), None) if wanted <= stock.available() => {
            stock.reserved += wanted;
            (StockOutcome::Done, Some(Reservation { quantity: wanted, state: Reserved }))
        }
        (StockNeed::Reserve(_), None) => (StockOutcome::Short { available: stock.available() }, None),
        (StockNeed::Sell, Some(Reserved)) => {
            stock.reserved -= quantity;
            stock.on_hand -= quantity;
            (StockOutcome::Done, Some(Reservation { quantity, state: Sold }))
        }
        (StockNeed::Sell, Some(Sold)) | (StockNeed::Release, Some(Released)) => (StockOutcome::Done, None),
        (StockNeed::Sell, None) => (StockOutcome::NotReserved, None),
        (StockNeed::Release, Some(Reserved)) => {
            stock.reserved -= quantity;
            (StockOutcome::Done, Some(Reservation { quantity, state: Released }))
        }
        (StockNeed::Release, None) => {
            (StockOutcome::Done, Some(Reservation { quantity: 0, state: Released }))
        }
        (StockNeed::Release, Some(Sold)) => (StockOutcome::Sold, None),
    }
}

/// Units that are not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// The product.
    pub sku: String,
    /// The units that the order wants.
    pub wanted: i64,
    /// The units that are available; 0 for a product that does not exist.
    pub available: i64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "insufficient stock: {} wanted, {} available of {}", self.wanted, self.available, self.sku)
    }
}

impl Shortage {
    /// Reads the shortage that is the detail of a refused order; `None` if it is another detail.
    pub fn parse(detail: &str) -> Option<Self> {
        let (wanted, rest) = detail.strip_prefix("insufficient stock: ")?.split_once(" wanted, ")?;
        let (available, sku) = rest.split_once(" available of ")?;
        Some(Self { sku: sku.to_owned(), wanted: wanted.parse().ok()?, available: available.parse().ok()? })
    }
}

/// Returns the product after its stock was set by hand; `None` if it would fall below what orders have reserved.
pub fn restocked(stock: &Stock, on_hand: i64) -> Option<Stock> {
    (on_hand >= stock.reserved).then(|| Stock {
        on_hand,
        stocked: stock.stocked + on_hand - stock.on_hand,
        version: stock.version + 1,
        ..*stock
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stock(on_hand: i64) -> Stock {
        Stock { on_hand, reserved: 0, stocked: on_hand, version: 1 }
    }

    fn need() -> impl Strategy<Value = StockNeed> {
        prop_oneof![
            3 => (1_i64..4).prop_map(StockNeed::Reserve),
            1 => Just(StockNeed::Sell),
            1 => Just(StockNeed::Release),
        ]
    }

    proptest! {
        /// In whatever order needs come, in whatever groups, the counts are those of the reservations, nothing is oversold,
        /// and what has ended stays as it is.
        #[test]
        fn the_counts_are_those_of_the_reservations(
            on_hand in 0_i64..20,
            rounds in prop::collection::vec(prop::collection::vec((0_i64..12, need()), 1..8), 1..12),
        ) {
            let (mut stock, mut reservations) = (stock(on_hand), BTreeMap::new());
            for round in rounds {
                let needs: Vec<_> = round.into_iter().map(|(id, need)| (OrderId(id), need)).collect();
                let before: BTreeMap<OrderId, Reservation> = reservations.clone();
                let (change, outcomes) = decide("A", &stock, &reservations, &needs);
                prop_assert_eq!(outcomes.len(), needs.len());
                if let Some(change) = change {
                    prop_assert_eq!(change.stock.version, stock.version + 1);
                    stock = change.stock;
                    reservations.extend(change.reservations);
                }
                let sum = |state| -> i64 {
                    reservations.values().filter(|r: &&Reservation| r.state == state).map(|r| r.quantity).sum()
                };
                prop_assert_eq!(stock.reserved, sum(ReservationState::Reserved));
                prop_assert_eq!(stock.stocked, stock.on_hand + sum(ReservationState::Sold));
                prop_assert!(0 <= stock.reserved && stock.reserved <= stock.on_hand);
                for (id, ended) in before.iter().filter(|(_, r)| r.state != ReservationState::Reserved) {
                    prop_assert_eq!(&reservations[id], ended);
                }
                // Deciding on the same needs again changes nothing that was done.
                let (_, again) = decide("A", &stock, &reservations, &needs);
                for ((first, second), (_, need)) in outcomes.iter().zip(&again).zip(&needs) {
                    if *first == StockOutcome::Done && !matches!(need, StockNeed::Reserve(_)) {
                        prop_assert_eq!(second, first);
                    }
                }
            }
        }

        #[test]
        fn a_shortage_reads_back(sku in "[!-~]{1,20}", wanted in 1_i64..1_000, available in 0_i64..1_000) {
            let shortage = Shortage { sku, wanted, available };
            prop_assert_eq!(Shortage::parse(&shortage.to_string()), Some(shortage));
        }
    }

    #[test]
    fn an_order_that_ended_can_reserve_nothing_any_more() {
        let (change, outcomes) =
            decide("A", &stock(5), &BTreeMap::new(), &[(OrderId(1), StockNeed::Release)]);
        let reservations = change.unwrap().reservations;
        assert_eq!(outcomes, [StockOutcome::Done]);
        let (change, outcomes) =
            decide("A", &stock(5), &reservations, &[(OrderId(1), StockNeed::Reserve(1))]);
        assert_eq!((change, outcomes), (None, vec![StockOutcome::Released]));
    }

    #[test]
    fn stock_is_never_set_below_what_is_reserved() {
        let stock = Stock { on_hand: 5, reserved: 3, stocked: 7, version: 9 };
        assert_eq!(restocked(&stock, 2), None);
        assert_eq!(restocked(&stock, 10), Some(Stock { on_hand: 10, reserved: 3, stocked: 12, version: 10 }));
    }
}
