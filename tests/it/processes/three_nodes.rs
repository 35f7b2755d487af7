//! The roles on three Cassandra nodes under load: one node killed, two killed, each restarted.
//! `cargo xtask nodes` starts the nodes and runs this; each scenario prints a line of figures.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::admin::get;
use super::program::{Running, TestDir, eventually};
use crate::services::unique;

/// Orders of a scenario, and as many payments; at [`RATE`] they take half a minute.
const ORDERS: &str = "1-6000";
const RATE: &str = "200/s";
const CONSUMERS: [&str; 3] = ["order_consumer", "payment_consumer", "dlq_handler"];
const CONFIG: [&str; 2] = ["-c", "three.toml"];

/// The nodes, by their numbers 1 to 3. Scenarios have them one after the other.
struct Nodes {
    dir: PathBuf,
    contact_points: Vec<String>,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Nodes {
    /// Waits until no other scenario has them, and starts those that a failed one left dead.
    async fn of_environment() -> Self {
        static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let alone = ALONE.lock().await;
        let contact_points = variable("CASSANDRA_RING").split(',').map(str::to_owned).collect();
        let nodes = Self { dir: variable("CASSANDRA_RING_DIR").into(), contact_points, _alone: alone };
        for node in 1..=3 {
            nodes.start(node).await;
        }
        nodes
    }

    fn log(&self, node: u8) -> PathBuf {
        self.dir.join(format!("cassandra-{node}.log"))
    }

    /// Returns whether a node runs: it locks its log for as long as it does.
    fn is_running(&self, node: u8) -> bool {
        File::open(self.log(node)).unwrap().try_lock_shared().is_err()
    }

    /// Ends a node by a signal, and waits until it has ended.
    async fn end(&self, node: u8, signal: &str) {
        let state = std::fs::read(self.dir.join(format!("cassandra-{node}.json"))).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let pid = state["runner"]["native"]["pid"].to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success(), "kill {signal} {pid}");
        eventually("the node ends", async || (!self.is_running(node)).then_some(())).await;
    }

    /// Starts a node that has ended, and waits until the other ones that run have seen it.
    async fn start(&self, node: u8) {
        if self.is_running(node) {
            return;
        }
        let others: Vec<u8> = (1..=3).filter(|other| *other != node && self.is_running(*other)).collect();
        let seen = |other: &u8| {
            let log = String::from_utf8_lossy(&std::fs::read(self.log(*other)).unwrap()).into_owned();
            let up =
                |line: &&str| line.contains(&format!("/127.0.0.{node}:")) && line.ends_with(" is now UP");
            log.lines().filter(up).count()
        };
        let before: Vec<usize> = others.iter().map(seen).collect();
        let mut start = Command::new(variable("XTASK"));
        start.args(["services", "up", "--node", &node.to_string(), "--dir"]).arg(&self.dir);
        start.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::null()).stderr(Stdio::null());
        let started = tokio::task::spawn_blocking(move || start.status().unwrap()).await.unwrap();
        assert!(started.success(), "node {node} did not start, see {}", self.log(node).display());
        eventually("the other nodes see it", async || {
            others.iter().zip(&before).all(|(other, before)| seen(other) > *before).then_some(())
        })
        .await;
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask nodes`"))
}

/// The roles in a project and a keyspace of their own, with the load of one scenario.
struct Load {
    consumers: Vec<Running>,
    admins: Vec<String>,
    producers: Vec<Running>,
    not_ready: Arc<Mutex<Duration>>,
    watching: JoinHandle<()>,
    dir: TestDir,
}

impl Load {
    /// Creates the keyspace, starts the roles, and waits until rows are written.
    async fn start(nodes: &Nodes) -> Self {
        let (dir, name) = (TestDir::new(), unique("three"));
        dir.write(
            CONFIG[1],
            format!(
                "[bus]\nkind = \"pubsub\"\n\
                 [bus.pubsub]\nproject = \"{name}\"\nemulator_host = \"{}\"\nack_deadline = \"10s\"\n\
                 [store]\nkind = \"cassandra\"\n\
                 [store.cassandra]\ncontact_points = {:?}\nkeyspace = \"{}\"\nreplication_factor = 3\n\
                 [consumer]\nstreams = 1\n",
                variable("PUBSUB_EMULATOR_HOST"),
                nodes.contact_points,
                name.replace('-', "_")
            ),
        );
        dir.run("ecom_setup", &CONFIG).await.with(0);
        let served = [&CONFIG[..], &["--admin-listen", "127.0.0.1:0"]].concat();
        let mut consumers = CONSUMERS.map(|role| dir.start(role, &served));
        let mut admins = Vec::new();
        for consumer in &mut consumers {
            admins.push(consumer.serves().await);
        }
        for admin in &admins {
            eventually("it is ready", async || status(admin, "/readyz", 200).await.then_some(())).await;
        }
        let events =
            [&CONFIG[..], &["--order-ids", ORDERS, "--rate", RATE, "--late-by", "200", "--manifest"]];
        let produce = |role, manifest| dir.start(role, &[&events.concat()[..], &[manifest]].concat());
        let producers =
            vec![produce("orders_producer", "orders.json"), produce("payments_producer", "payments.json")];
        let not_ready = Arc::<Mutex<Duration>>::default();
        let watching = tokio::spawn(watch(admins.clone(), Arc::clone(&not_ready)));
        let load = Self { consumers: consumers.into(), admins, producers, not_ready, watching, dir };
        eventually("orders are recorded", async || (load.applied().await > 800).then_some(())).await;
        load
    }

    /// Returns the number of orders recorded, as the consumer counts them.
    async fn applied(&self) -> u64 {
        let metrics = get(&self.admins[0], "/metrics").await;
        let applied = metrics.lines().find(|line| {
            line.starts_with("ecom_message_seconds_count{") && line.contains("disposition=\"applied\"")
        });
        applied.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }

    /// Waits until the producers have published everything.
    async fn published(&mut self) {
        for producer in self.producers.drain(..) {
            let ended = producer.ended().await.with(0);
            assert_eq!(errors(&ended.stderr), 0, "{}", ended.stderr);
        }
    }

    /// Verifies that rows and dead letters are exactly those of the published events.
    async fn verified(&self) -> serde_json::Value {
        let verify =
            ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--format", "json"];
        self.dir.run("ecom_facts", &[&CONFIG[..], &verify, &["--wait", "90s"]].concat()).await.with(0).json()
    }

    /// Verifies, drains the consumers, and prints the scenario's line.
    async fn end(self, scenario: &str, out: Duration) {
        let found = self.verified().await;
        self.watching.abort();
        let (mut logged, mut warnings) = (0, 0);
        for consumer in self.consumers {
            let ended = consumer.drained().await.with(0);
            assert_eq!(errors(&ended.stderr), 0, "{}", ended.stderr);
            logged += errors(&ended.stderr);
            warnings += ended.stderr.lines().filter(|line| line.contains(" WARN ")).count();
        }
        let sum = |what: &str| {
            ["orders", "payments"].iter().map(|stream| found[stream][what].as_u64().unwrap()).sum::<u64>()
        };
        println!(
            "{scenario}: {} events, {} rows, {} dead letters; {:.1} s out, {:.1} s not ready; lost {}, mixed {}, \
             errors logged {logged}, warnings {warnings}",
            sum("published"),
            found["rows"],
            sum("dead_letter_store"),
            out.as_secs_f64(),
            self.not_ready.lock().unwrap().as_secs_f64(),
            sum("lost"),
            found["faults"].as_object().unwrap().len(),
        );
    }
}

/// Adds up the time in which any of these consumers is not ready.
async fn watch(admins: Vec<String>, not_ready: Arc<Mutex<Duration>>) {
    let (mut ticks, mut last) = (tokio::time::interval(Duration::from_millis(100)), Instant::now());
    loop {
        ticks.tick().await;
        let mut are_ready = true;
        for admin in &admins {
            are_ready &= status(admin, "/readyz", 200).await;
        }
        let now = Instant::now();
        if !are_ready {
            *not_ready.lock().unwrap() += now - last;
        }
        last = now;
    }
}

async fn status(admin: &str, path: &str, code: u16) -> bool {
    get(admin, path).await.starts_with(&format!("HTTP/1.1 {code} "))
}

/// The number of lines that are errors, not warnings of an outage.
fn errors(stderr: &str) -> usize {
    stderr.lines().filter(|line| line.contains(" ERROR ") || line.starts_with("error: ")).count()
}

#[ignore = "needs three Cassandra nodes: cargo xtask nodes"]
#[tokio::test]
async fn one_node_killed_under_load_loses_nothing() {
    let nodes = Nodes::of_environment().await;
    let mut load = Load::start(&nodes).await;
    let killed = Instant::now();
    nodes.end(3, "-9").await;
    load.published().await;
    load.verified().await;
    nodes.start(3).await;
    load.end("one node killed", killed.elapsed()).await;
}

#[ignore = "needs three Cassandra nodes: cargo xtask nodes"]
#[tokio::test]
async fn consumers_wait_while_two_nodes_are_dead_and_recover_when_one_is_back() {
    let nodes = Nodes::of_environment().await;
    let mut load = Load::start(&nodes).await;
    let killed = Instant::now();
    nodes.end(2, "-9").await;
    nodes.end(3, "-9").await;
    // The handler stores dead letters, which come late in a run: only the others are under load for certain.
    for admin in &load.admins[..2] {
        eventually("it is not ready", async || status(admin, "/readyz", 503).await.then_some(())).await;
        assert!(status(admin, "/livez", 200).await, "an outage does not call for a restart");
    }
    let before = load.applied().await;
    load.published().await;
    assert_eq!(load.applied().await, before, "recorded without a quorum");
    for admin in &load.admins[..2] {
        let answer = get(admin, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("does not answer"), "{answer}");
    }
    nodes.start(2).await;
    let out = killed.elapsed();
    for admin in &load.admins {
        eventually("it is ready again", async || status(admin, "/readyz", 200).await.then_some(())).await;
    }
    load.verified().await;
    nodes.start(3).await;
    load.end("two nodes killed", out).await;
}

#[ignore = "needs three Cassandra nodes: cargo xtask nodes"]
#[tokio::test]
async fn a_rolling_restart_under_load_loses_nothing() {
    let nodes = Nodes::of_environment().await;
    let mut load = Load::start(&nodes).await;
    let mut out = Duration::ZERO;
    for node in 1..=3 {
        let stopped = Instant::now();
        nodes.end(node, "-TERM").await;
        nodes.start(node).await;
        out += stopped.elapsed();
    }
    load.published().await;
    load.end("rolling restart", out).await;
}
