//! `ecom_setup`.

use clap::{Command, CommandFactory, Parser, Subcommand, ValueEnum};

use super::shared::OF_ROLES;
use super::{
    Common, Demo, DlqHandler, Facts, Mode, Modes, OrderConsumer, OrdersProducer, PaymentConsumer,
    PaymentsProducer,
};
use ecom_config::Set;

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

impl Modes for Setup {
    fn modes(&self) -> Vec<Mode> {
        let mut modes = vec![Mode { name: "in ecom_setup: it is for roles", without_effect: OF_ROLES }];
        if self.print.is_some() {
            modes.push(Mode { name: "with --print", without_effect: &["check", "connect_timeout"] });
        }
        if self.command.is_some() {
            modes.push(Mode {
                name: "with completions",
                without_effect: &[
                    "print",
                    "config",
                    "set",
                    "embedded",
                    "data_dir",
                    "project",
                    "check",
                    "print_config",
                    "log_format",
                    "verbose",
                    "quiet",
                    "connect_timeout",
                ],
            });
        }
        modes
    }
}

impl Setup {
    /// The backend of a script that is printed, whatever is configured.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let set = |key, value| vec![Set::flag("--print", key, value)];
        match self.print {
            None => Vec::new(),
            Some(Print::Gcloud | Print::Iam) => set("bus.kind", "pubsub"),
            Some(Print::Cql) => set("store.kind", "cassandra"),
        }
    }
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum SetupCommand {
    /// Print shell completions for all binaries.
    #[command(after_help = "\
To keep them:
  ecom_setup completions bash > ~/.local/share/bash-completion/ecom   and source it in ~/.bashrc
  ecom_setup completions zsh > FOLDER/_ecom                           in a folder of $fpath, before compinit
  ecom_setup completions fish > ~/.config/fish/conf.d/ecom.fish")]
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
pub(crate) fn all() -> Vec<Command> {
    vec![
        OrdersProducer::command(),
        PaymentsProducer::command(),
        OrderConsumer::command(),
        PaymentConsumer::command(),
        DlqHandler::command(),
        Setup::command(),
        Facts::command(),
        Demo::command(),
        #[cfg(feature = "shop")]
        super::ApiService::command(),
        #[cfg(feature = "shop")]
        super::PaymentProcessor::command(),
        #[cfg(feature = "shop")]
        super::Notifier::command(),
        #[cfg(feature = "shop")]
        super::TransactionGenerator::command(),
    ]
}
