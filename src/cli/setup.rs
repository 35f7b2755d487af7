//! `ecom_setup`.

use clap::{Command, CommandFactory, Parser, Subcommand, ValueEnum};

use super::{
    Common, Demo, DlqHandler, Facts, OrderConsumer, OrdersProducer, PaymentConsumer, PaymentsProducer,
};

const AFTER: &str = "\
Examples:
  ecom_setup -c config/local.toml            create what is missing, on services of this host
  ecom_setup -c config/gcp.toml -c my.toml --check
  ecom_setup -c config/gcp.toml -c my.toml --print gcloud | sh
  ecom_setup -c config/gcp.toml -c my.toml --print cql | cqlsh
  ecom_setup completions bash

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 --check found something missing, 130 second signal";

/// Creates topics, subscriptions, keyspace and tables; safe to repeat.
#[derive(Debug, Parser)]
#[command(name = "ecom_setup", version, after_help = AFTER)]
pub(crate) struct Setup {
    #[command(subcommand)]
    pub(crate) command: Option<SetupCommand>,
    /// Print a script that creates the resources instead of creating them.
    #[arg(long, value_name = "WHAT")]
    pub(crate) print: Option<Print>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum SetupCommand {
    /// Print shell completions for all binaries.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The script to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Print {
    /// gcloud commands for topics and subscriptions.
    Gcloud,
    /// CQL of keyspace and tables, for cqlsh.
    Cql,
    /// gcloud commands for one least-privilege service account per binary.
    Iam,
}

/// The command line of every binary.
pub(crate) fn all() -> [Command; 8] {
    [
        OrdersProducer::command(),
        PaymentsProducer::command(),
        OrderConsumer::command(),
        PaymentConsumer::command(),
        DlqHandler::command(),
        Setup::command(),
        Facts::command(),
        Demo::command(),
    ]
}
