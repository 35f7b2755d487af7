//! Races for the last units, with processors that are killed and frozen, and calls that are applied although they fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/world.rs"]
#[allow(dead_code, reason = "the lifecycle tests use the rest")]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use ecom_domain::order::OrderId;
use ecom_shop::mutant::{Mutant, activate};
use ecom_shop::processor::PaymentProcessor;
use ecom_shop_domain::inventory::{Product, Reservation, ReservationState, Stock, StockChange};
use ecom_shop_domain::money::Currency;
use ecom_shop_domain::order::{OrderLine, OrderState};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::InventoryStore;
use ecom_shop_store::memory::{CallFault, CallFaults};
use futures_util::future::join_all;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::world::World;

/// A race: orders for the units of a few products.
struct Race {
    /// Units of each product.
    units: &'static [(&'static str, i64)],
    /// Orders, and the products of which each wants one unit.
    orders: i64,
    wanted: fn(i64) -> Vec<&'static str>,
    success_rate: f64,
    /// The share of calls of the store in which a process freezes.
    freezes: f64,
    seed: u64,
}

/// The usual share of calls in which a process freezes.
const FREEZES: f64 = 0.01;

/// The end of a race.
struct Outcome {
    world: World,
    orders: Vec<OrderId>,
    /// False if some order did not come to rest in time.
    is_at_rest: bool,
}

fn policy() -> OrderPolicy {
    OrderPolicy { completion_delay: Duration::from_secs(3), ..OrderPolicy::default() }
}

/// Runs three processors. Each delivery is killed at a random moment, or runs until it is done; some calls of the
/// store take longer than the ack deadline, so that another processor works on the order meanwhile.
async fn run(race: &Race) -> Outcome {
    let world = World { freezes: race.freezes, success_rate: Some(race.success_rate), ..World::default() };
    let world = world.with_faults(race.seed);
    for (sku, on_hand) in race.units {
        let stock = Stock { on_hand: *on_hand, reserved: 0, stocked: *on_hand, version: 1 };
        let currency = Currency::try_new("USD").unwrap();
        let product = Product { sku: (*sku).into(), name: (*sku).into(), price_minor: 100, currency, stock };
        world.shop.tables().products.insert((*sku).into(), product);
    }
    let lines = |n: i64| -> Vec<OrderLine> {
        let line = |sku: &str| OrderLine {
            item: sku.into(),
            sku: Some(sku.into()),
            quantity: 1,
            unit_price_minor: Some(100),
            ..OrderLine::default()
        };
        (race.wanted)(n).into_iter().map(line).collect()
    };
    let orders: Vec<OrderId> =
        (0..race.orders).map(|n| world.accept_lines(n, lines(n), Some("PayPal"), &policy())).collect();
    let processors: Vec<PaymentProcessor> =
        (1..=3).map(|n| world.processor(race.seed * 10 + n, 0, policy()).0).collect();
    let mut dice = ChaCha8Rng::seed_from_u64(race.seed);
    let is_final = |id: &OrderId| world.order(*id).state.is_final();
    let mut is_at_rest = false;
    for round in 0..12 {
        let mut deliveries = Vec::new();
        for order_id in orders.iter().filter(|id| round < 4 || !is_final(id)) {
            let processor = &processors[dice.random_range(0..processors.len())];
            let starts = Duration::from_millis(dice.random_range(0..1_500));
            let lives = match dice.random::<f64>() {
                ..0.4 => Duration::from_millis(dice.random_range(1..4_000)),
                // Frozen ones go on when they wake up.
                _ => Duration::from_secs(300),
            };
            deliveries.push(async move {
                tokio::time::sleep(starts).await;
                let processing = processor.process(ProcessingRequest::OrderId(order_id.0));
                drop(tokio::time::timeout(lives, processing).await);
            });
        }
        join_all(deliveries).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        is_at_rest = orders.iter().all(is_final);
        if is_at_rest && round >= 4 {
            break;
        }
    }
    Outcome { world, orders, is_at_rest }
}

/// Returns what does not add up.
fn faults(race: &Race, outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |is_true: bool, what: String| {
        if !is_true {
            faults.push(what);
        }
    };
    check(outcome.is_at_rest, "some orders did not come to rest".into());
    let mut sold: BTreeMap<&str, i64> = BTreeMap::new();
    let mut wanted_ids = BTreeMap::new();
    for (n, id) in (0..).zip(&outcome.orders) {
        let state = outcome.world.order(*id).state;
        for sku in (race.wanted)(n) {
            *sold.entry(sku).or_default() += i64::from(state == OrderState::Completed);
            wanted_ids.insert((sku.to_owned(), *id), state);
        }
    }
    let tables = outcome.world.shop.tables();
    for (sku, on_hand) in race.units {
        let stock = tables.products[*sku].stock;
        let sold = sold.get(sku).copied().unwrap_or_default();
        check(stock.reserved == 0, format!("{} units of {sku} are reserved at rest", stock.reserved));
        check(
            stock.on_hand == on_hand - sold,
            format!("{sold} of {on_hand} units of {sku} sold, and {} are there", stock.on_hand),
        );
        check((0..=*on_hand).contains(&stock.on_hand), format!("{sku} was oversold"));
    }
    for ((sku, id), row) in &tables.reservations {
        let state = wanted_ids[&(sku.clone(), *id)];
        let expected = match state {
            OrderState::Completed => ReservationState::Sold,
            _ => ReservationState::Released,
        };
        check(
            row.state == expected,
            format!("order {id} is {state:?}, and its unit of {sku} {:?}", row.state),
        );
    }
    let mut completed: BTreeMap<OrderId, i64> = BTreeMap::new();
    for payment in tables.payments.values() {
        let is_completed = payment.state == ecom_shop_domain::payment::PaymentState::Completed;
        *completed.entry(payment.of_order.unwrap().0).or_default() += i64::from(is_completed);
    }
    for id in &outcome.orders {
        let state = tables.orders[id].state;
        let paid = completed.get(id).copied().unwrap_or_default();
        check(
            paid == i64::from(state == OrderState::Completed),
            format!("order {id} is {state:?} and paid {paid} times"),
        );
    }
    faults
}

fn one_product(seed: u64, success_rate: f64) -> Race {
    Race { units: &[("A", 100)], orders: 200, wanted: |_| vec!["A"], success_rate, freezes: FREEZES, seed }
}

/// Orders of one or two of three products.
fn three_products(seed: u64, success_rate: f64) -> Race {
    let wanted = |n: i64| match n % 4 {
        0 => vec!["A", "B"],
        1 => vec!["B", "C"],
        2 => vec!["C", "A"],
        _ => vec!["B"],
    };
    Race {
        units: &[("A", 60), ("B", 50), ("C", 70)],
        orders: 300,
        wanted,
        success_rate,
        freezes: FREEZES,
        seed,
    }
}

#[tokio::test(start_paused = true)]
async fn of_200_buyers_exactly_100_get_the_100_units() {
    for seed in 0..4 {
        let race = one_product(seed, 1.0);
        let outcome = run(&race).await;
        assert_eq!(faults(&race, &outcome), [""; 0], "seed {seed}");
        let count =
            |state| outcome.orders.iter().filter(|id| outcome.world.order(**id).state == state).count();
        assert_eq!((count(OrderState::Completed), count(OrderState::Refused)), (100, 100), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_failing_payments_and_several_products_every_count_adds_up_and_orders_are_all_or_nothing() {
    for seed in 0..4 {
        for race in [one_product(seed, 0.8), three_products(seed, 0.8)] {
            let outcome = run(&race).await;
            assert_eq!(faults(&race, &outcome), [""; 0], "seed {seed}");
        }
    }
}

/// The control: compare and set with three attempts, as in textbooks. It never oversells, and turns buyers away although there
/// are units left.
#[tokio::test(start_paused = true)]
async fn three_attempts_of_compare_and_set_leave_units_unsold() {
    let world = World::default();
    let stock = Stock { on_hand: 100, reserved: 0, stocked: 100, version: 1 };
    let currency = Currency::try_new("USD").unwrap();
    let product = Product { sku: "A".into(), name: "A".into(), price_minor: 100, currency, stock };
    world.shop.tables().products.insert("A".into(), product);
    let shop = world.shop.sharing(Slow);
    let buyers = (0..200).map(|n| {
        let shop = &shop;
        async move {
            for _ in 0..3 {
                let (stock, _) = shop.stock("A", &[]).await.unwrap().unwrap();
                if stock.on_hand == 0 {
                    return false;
                }
                let after = Stock { on_hand: stock.on_hand - 1, version: stock.version + 1, ..stock };
                let sold = Reservation { quantity: 1, state: ReservationState::Sold };
                let reservations = BTreeMap::from([(OrderId(n), sold)]);
                let change = StockChange { sku: "A".into(), stock: after, reservations };
                if shop.change_stock(&change).await.unwrap() {
                    return true;
                }
            }
            false
        }
    });
    let sold = join_all(buyers).await.into_iter().filter(|is_sold| *is_sold).count();
    let left = world.shop.tables().products["A"].stock.on_hand;
    assert!(left > 50 && sold == 100 - left as usize, "{sold} sold, {left} left");
}

/// A store whose every call takes 5 ms.
struct Slow;

#[async_trait::async_trait]
impl CallFaults for Slow {
    async fn next(&self, _: &'static str) -> CallFault {
        tokio::time::sleep(Duration::from_millis(5)).await;
        CallFault::None
    }
}

#[tokio::test(start_paused = true)]
async fn each_seeded_bug_is_found() {
    for mutant in Mutant::ALL {
        activate(Some(mutant));
        let mut found = None;
        for seed in 0..40 {
            let race = Race { freezes: 5.0 * FREEZES, ..three_products(seed, 0.8) };
            let outcome = tokio::time::timeout(Duration::from_secs(20_000), run(&race)).await;
            let is_found = match outcome {
                Ok(outcome) => !faults(&race, &outcome).is_empty(),
                // It never ends.
                Err(_) => true,
            };
            if is_found {
                found = Some(seed);
                break;
            }
        }
        activate(None);
        assert!(found.is_some(), "{mutant:?} was not found");
    }
}
