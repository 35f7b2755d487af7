//! Buyers who race for the last units over HTTP, while the payment processors are killed and frozen.

use std::time::Duration;

use ecom_shop_load::client::ApiClient;
use futures_util::future::join_all;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::program::{Running, TestDir};
use super::shop::{ApiProcess, Place, ROLES};

/// A race, and what happens to the processors meanwhile.
pub(super) struct Race {
    /// Units of each product.
    pub(super) units: &'static [(&'static str, i64)],
    /// The buyers, each with one order.
    pub(super) buyers: usize,
    /// The products of which a buyer wants a unit each.
    pub(super) wants: fn(usize) -> Vec<&'static str>,
    /// The method they pay with; the simulated gateway completes 80 % unless it says otherwise.
    pub(super) payment_method: &'static str,
    /// The number of times that a processor is killed.
    pub(super) kills: usize,
    /// The number of times that one is frozen.
    pub(super) freezes: usize,
    /// For how long: longer than the ack deadline.
    pub(super) freeze: Duration,
    /// Flags of the processors.
    pub(super) processor: &'static [&'static str],
}

impl Race {
    /// 200 buyers of 100 units of one product.
    pub(super) fn of_one_product(kills: usize, freezes: usize, freeze: Duration) -> Self {
        Self {
            units: &[("A", 100)],
            buyers: 200,
            wants: |_| vec!["A"],
            payment_method: "Test: succeed",
            kills,
            freezes,
            freeze,
            processor: &[],
        }
    }

    /// 300 buyers of one or two of three products, some of whose payments fail.
    pub(super) fn of_three_products(kills: usize, freezes: usize, freeze: Duration) -> Self {
        let wants = |n: usize| match n % 4 {
            0 => vec!["A", "B"],
            1 => vec!["B", "C"],
            2 => vec!["C", "A"],
            _ => vec!["B"],
        };
        let units = &[("A", 60), ("B", 50), ("C", 70)];
        Self {
            units,
            buyers: 300,
            wants,
            payment_method: "Credit Card",
            kills,
            freezes,
            freeze,
            processor: &[],
        }
    }
}

/// A fault of a processor.
#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Freeze,
}

/// A processor that wakes up at some time.
struct Frozen {
    processor: Running,
    until: Instant,
}

/// The end of a race.
pub(super) struct Outcome {
    /// The result of the verification.
    pub(super) found: Value,
    /// The processors whose calls of the store had unknown outcomes, as their logs say.
    pub(super) with_outages: usize,
}

/// Runs a race, and checks that every order and every unit has come to rest and that all counts add up.
pub(super) async fn run(dir: &TestDir, place: &Place, race: &Race) -> Outcome {
    let api = ApiProcess::start(dir, place).await;
    let _consumers: Vec<Running> = ROLES[1..].iter().map(|role| place.start(dir, role)).collect();
    for (sku, on_hand) in race.units {
        let product = json!({"name": sku, "price": 10, "on_hand": on_hand});
        let put = api.client.put(&format!("/api/v1/products/{sku}"), &product).await.unwrap();
        assert_eq!(put.status.as_u16(), 201, "{}", put.body);
    }
    let begun = Instant::now();
    let (faults, buyers) = (disturb(dir, place, race), buy(&api.client, race));
    let (processors, ()) = tokio::join!(faults, buyers);
    let found = place.at_rest(dir).await;
    assert_eq!(found["faults"], json!({}), "{found}");
    for (sku, on_hand) in race.units {
        let product = api.client.get(&format!("/api/v1/products/{sku}")).await.unwrap().body;
        let sold = sold(&api.client, race, sku).await;
        assert_eq!(product["reserved"], 0, "{product}");
        assert_eq!(product["on_hand"], on_hand - sold, "{sold} of {on_hand} are sold: {product}");
        assert!(sold <= *on_hand, "{sku} was oversold: {sold} of {on_hand}");
    }
    println!(
        "{} buyers, {} kills, {} freezes of {:?}, in {:.1} s: {}",
        race.buyers,
        race.kills,
        race.freezes,
        race.freeze,
        begun.elapsed().as_secs_f64(),
        found["shop"]["orders"]
    );
    let with_outages = processors.with_outages
        + processors.running.iter().filter(|processor| has_met_an_outage(processor)).count();
    Outcome { found, with_outages }
}

fn has_met_an_outage(processor: &Running) -> bool {
    processor.stderr().contains("retrying until it succeeds")
}

/// The processors of a race.
struct Processors {
    running: Vec<Running>,
    /// Those that were killed after calls of the store had unknown outcomes.
    with_outages: usize,
}

/// Kills and freezes three processors in random order; returns those that run in the end, the frozen ones awake again and one more.
async fn disturb(dir: &TestDir, place: &Place, race: &Race) -> Processors {
    let flags = place.flags.iter().map(String::as_str).chain(race.processor.iter().copied());
    let flags: Vec<&str> = flags.collect();
    let start = || dir.start("payment_processor", &flags);
    let mut dice = ChaCha8Rng::seed_from_u64(7);
    let mut processors: Vec<Running> = (0..3).map(|_| start()).collect();
    let mut with_outages = 0;
    let mut frozen: Vec<Frozen> = Vec::new();
    let mut faults = [vec![Fault::Kill; race.kills], vec![Fault::Freeze; race.freezes]].concat();
    faults.shuffle(&mut dice);
    for fault in faults {
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..700))).await;
        let victim = processors.swap_remove(dice.random_range(0..processors.len()));
        match fault {
            Fault::Kill => {
                with_outages += usize::from(has_met_an_outage(&victim));
                victim.kill();
            }
            Fault::Freeze => {
                victim.signal("STOP");
                frozen.push(Frozen { processor: victim, until: Instant::now() + race.freeze });
            }
        }
        processors.push(start());
        let (asleep, due): (Vec<_>, _) = frozen.into_iter().partition(|frozen| frozen.until > Instant::now());
        frozen = asleep;
        // They go on with what others have done meanwhile.
        for Frozen { processor, .. } in due {
            processor.signal("CONT");
            processors.push(processor);
        }
    }
    for Frozen { processor, until } in frozen {
        tokio::time::sleep_until(until).await;
        processor.signal("CONT");
        processors.push(processor);
    }
    // One without the race's flags: on a busy machine every call of the others may time out.
    processors.push(place.start(dir, "payment_processor"));
    Processors { running: processors, with_outages }
}

/// Lets every buyer order at some moment of the first half of the faults.
async fn buy(client: &ApiClient, race: &Race) {
    let mut dice = ChaCha8Rng::seed_from_u64(8);
    let span = Duration::from_millis(200) * u32::try_from(race.kills + race.freezes).unwrap();
    let buyers = (0..race.buyers).map(|n| {
        let (wait, body) = (span.mul_f64(dice.random()), order(race, n));
        async move {
            tokio::time::sleep(wait).await;
            let key = format!("buyer-{n}");
            let mut status = 503;
            // A processor that is frozen in the middle of a write locks the file of the embedded default.
            while status == 503 {
                let created = client.post("/api/v1/orders", &key, &body).await.unwrap();
                status = created.status.as_u16();
                assert!(status == 201 || status == 503, "{status}: {}", created.body);
            }
        }
    });
    join_all(buyers).await;
}

fn order(race: &Race, n: usize) -> Value {
    let lines: Vec<Value> =
        (race.wants)(n).into_iter().map(|sku| json!({"sku": sku, "quantity": 1})).collect();
    json!({
        "customer_id": n + 1, "lines": lines, "shipping_address": "1 Main St",
        "payment_method": race.payment_method,
    })
}

/// Returns how many units of a product the completed orders have.
async fn sold(client: &ApiClient, race: &Race, sku: &str) -> i64 {
    let mut sold = 0;
    for n in (0..race.buyers).filter(|n| (race.wants)(*n).contains(&sku)) {
        let order = client.get(&format!("/api/v1/orders/buyer-{n}")).await.unwrap().body;
        sold += i64::from(order["status"] == "Completed");
    }
    sold
}

/// Four payments in five succeed.
fn embedded() -> Place {
    let mut place = Place::embedded();
    place.flags.extend(["--set", "shop.processor.success_rate=0.8"].map(str::to_owned));
    place
}

pub(super) fn sold_out(outcome: &Outcome) {
    let orders = &outcome.found["shop"]["orders"];
    assert_eq!(orders, &json!({"completed": 100, "refused": 100}), "{}", outcome.found);
}

#[tokio::test]
async fn of_200_buyers_exactly_100_get_the_100_units() {
    let race = Race::of_one_product(8, 3, Duration::from_secs(3));
    sold_out(&run(&TestDir::new(), &embedded(), &race).await);
}

#[tokio::test]
async fn orders_of_several_products_are_all_or_nothing_though_payments_fail() {
    let race = Race::of_three_products(6, 2, Duration::from_secs(3));
    run(&TestDir::new(), &embedded(), &race).await;
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask shop"]
async fn long_races_on_the_embedded_default() {
    for round in 1..=3 {
        println!("embedded, round {round}");
        sold_out(
            &run(&TestDir::new(), &embedded(), &Race::of_one_product(30, 10, Duration::from_secs(3))).await,
        );
    }
    run(&TestDir::new(), &embedded(), &Race::of_three_products(30, 10, Duration::from_secs(3))).await;
}
