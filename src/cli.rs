//! The command lines. Only this module names clap's types.

mod bulk;
mod consumer;
mod demo;
mod dlq_handler;
mod facts;
mod inspect;
mod modes;
mod producer;
mod setup;
mod shared;
#[cfg(feature = "shop")]
mod shop;
#[cfg(feature = "shop")]
mod transaction_generator;

pub(crate) use bulk::{
    BulkOptions, BulkSelection, CorrectArgs, DiscardArgs, IdArgument, ReopenArgs, RetryArgs,
};
pub(crate) use consumer::{ConsumerArgs, OrderConsumer, PaymentConsumer};
pub(crate) use demo::Demo;
pub(crate) use dlq_handler::{DlqCommand, DlqHandler, RunArgs};
pub(crate) use facts::{ExportArgs, ExportFormat, ExportTable, Facts, FactsCommand, ShowArgs, VerifyArgs};
pub(crate) use inspect::{
    DeadLetterArgs, ExplainArgs, HistoryArgs, ListArgs, OutputFormat, ReportArgs, ReportFormat, TriageArgs,
};
pub(crate) use modes::parse;
pub(crate) use producer::{OrdersProducer, PaymentsProducer, Preset, ProducerArgs};
pub(crate) use setup::{Print, Setup, SetupCommand, all};
pub(crate) use shared::Common;
#[cfg(feature = "shop")]
pub(crate) use shop::{ApiCommand, ApiService, KeyArgs, KeyRole, Notifier, PaymentProcessor};
#[cfg(feature = "shop")]
pub(crate) use transaction_generator::{
    CreatesArg, GeneratorCommand, GeneratorVerifyArgs, LoadArgs, TransactionGenerator,
};

use clap::ValueEnum;
use modes::{Mode, Modes};

use ecom_config::Set;

/// The format of data on stdout.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub(crate) enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
    /// CSV for spreadsheets.
    Csv,
}

/// The settings of the flags that were given.
fn given(flags: &[(&str, &str, Option<String>)]) -> Vec<Set> {
    flags
        .iter()
        .filter_map(|(flag, key, value)| value.as_ref().map(|value| Set::flag(flag, key, value.as_str())))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_line_is_sound() {
        for command in super::all() {
            command.debug_assert();
        }
    }

    /// Help is wrapped at the terminal's width, at most 100, so a line broken by hand would break twice.
    #[test]
    fn the_end_of_every_help_wraps_well() {
        for command in super::all() {
            let name = command.get_name();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (examples, codes) =
                after.split_once("\n\nExit codes: ").unwrap_or_else(|| panic!("{name}: {after}"));
            assert!(
                !codes.contains('\n'),
                "{name}: the exit codes are one line, wrapped where they are printed"
            );
            let long = examples.lines().find(|line| line.chars().count() > 100);
            assert_eq!(long, None, "{name}: an example is not wrapped");
        }
    }
}
