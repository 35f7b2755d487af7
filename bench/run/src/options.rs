//! Options of `cargo xtask bench`; xtask includes this file, to check them before a long build.

use clap::{Args, ValueEnum, value_parser};
use std::path::PathBuf;

/// The first build takes about 15 minutes on 2 cores, a round about 6.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Run one round
    #[arg(long, conflicts_with = "rounds")]
    pub quick: bool,
    /// Rounds over all arms
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Run these arms only
    #[arg(long, value_name = "ARM,...", value_delimiter = ',')]
    pub only: Vec<Arm>,
    /// Events of an arm; slower peers get fewer
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = value_parser!(u64).range(1..))]
    pub events: u64,
    /// Orders of the embedded arms, each with its payment
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = value_parser!(u32).range(1..))]
    pub embedded_orders: u32,
    /// Events through both services before the first round
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub warm_up: u64,
    /// Streams of every arm that receives (default: 32 to pull alone, 8 of the loop and the peers, and as
    /// many as the binaries open by themselves)
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub streams: Option<u32>,
    /// Events published and not yet done, at most
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = value_parser!(u64).range(1..))]
    pub backlog: u64,
    /// Measure on three Cassandra nodes of one cluster, with three copies of each row
    #[arg(long)]
    pub three_nodes: bool,
    /// Measure the HTTP API beside FastAPI on PostgreSQL, instead of the arms
    #[arg(long, conflicts_with_all = ["only", "three_nodes"])]
    pub api: bool,
    /// Measure what was built before
    #[arg(long)]
    pub no_build: bool,
    /// The cargo profile of what is measured
    #[arg(long, value_name = "NAME", default_value = "dist")]
    pub profile: String,
    /// Keep results, logs and services in DIR (default: target/bench)
    #[arg(long, value_name = "DIR", overrides_with = "out")]
    pub out: Option<PathBuf>,
}

/// One program doing one kind of work, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Arm {
    /// R0: publish
    R0Publish,
    /// R1: pull and ack
    R1Pull,
    /// R2: prepared inserts
    R2Insert,
    /// R3: SELECT and UPDATE
    R3Update,
    /// R2g: prepared inserts, ten a request
    R2Grouped,
    /// R3g: SELECT … IN and UPDATE, ten a request
    R3Grouped,
    /// The shortest loop over both clients, orders
    MinimalOrders,
    /// The shortest loop over both clients, payments
    MinimalPayments,
    /// `order_consumer`
    Orders,
    /// `order_consumer` once more: the difference is the resolution of the benchmark
    OrdersAgain,
    /// `order_consumer`, each statement in its own request
    OrdersUngrouped,
    /// `order_consumer`, Cassandra behind a relay that delays
    OrdersSlow,
    /// `payment_consumer`, every order present
    Payments,
    /// `payment_consumer`, each statement in its own request
    PaymentsUngrouped,
    /// `payment_consumer`, one order in ten missing
    PaymentsMissing,
    /// `dlq_handler`, recording dead letters
    DlqHandler,
    /// `dlq_handler`, each statement in its own request
    DlqHandlerUngrouped,
    /// `ecom_demo` on the embedded default, without its verification
    Embedded,
    /// The same rows by plain `SQLite` statements
    SqliteRaw,
    /// Google's Go client and gocql, orders
    GoOrders,
    /// Google's Go client and gocql, payments
    GoPayments,
    /// Google's Python client and the DataStax driver, orders
    PythonOrders,
    /// Google's Python client and the DataStax driver, payments
    PythonPayments,
}
