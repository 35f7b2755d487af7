//! The entry points of the binaries: from the command line to an exit code.
//!
//! Each takes the arguments of the process, the name of the program first.

mod admin;
mod bulk;
mod cli;
mod completions;
mod config;
mod context;
mod csv_record;
mod demo;
mod dlq;
mod exit;
mod facts;
mod heartbeats;
mod inspect;
mod logs;
mod output;
mod preflight;
mod producers;
mod programs;
pub mod render;
mod role_handle;
mod roles;
mod setup;
#[cfg(feature = "shop")]
mod shop;
mod shutdown;
mod startup;
mod summary;
mod traces;
mod wiring;

use std::process::ExitCode;

use config::Loaded;
use context::Guard;
use ecom_domain::dead_letter::EventKind;
pub use programs::{Arguments, ecom};

/// Runs `orders_producer`.
pub fn orders_producer(arguments: Arguments) -> ExitCode {
    let cli: cli::OrdersProducer = cli::parse(arguments);
    let sets = cli.producer.sets();
    context::main(&cli.common, sets, Guard::On, async |context| {
        producers::run(context, &cli.producer, EventKind::Order).await
    })
}

/// Runs `payments_producer`.
pub fn payments_producer(arguments: Arguments) -> ExitCode {
    let cli: cli::PaymentsProducer = cli::parse(arguments);
    let sets = cli.producer.sets();
    context::main(&cli.common, sets, Guard::On, async |context| {
        producers::run(context, &cli.producer, EventKind::Payment).await
    })
}

/// Runs `order_consumer`.
pub fn order_consumer(arguments: Arguments) -> ExitCode {
    let cli: cli::OrderConsumer = cli::parse(arguments);
    let sets = cli.consumer.sets();
    context::main(&cli.common, sets, Guard::On, async |context| {
        roles::run_consumer(context, &cli.consumer, EventKind::Order).await
    })
}

/// Runs `payment_consumer`.
pub fn payment_consumer(arguments: Arguments) -> ExitCode {
    let cli: cli::PaymentConsumer = cli::parse(arguments);
    let sets = cli.sets();
    context::main(&cli.common, sets, Guard::On, async |context| {
        roles::run_consumer(context, &cli.consumer, EventKind::Payment).await
    })
}

/// Runs `dlq_handler`.
pub fn dlq_handler(arguments: Arguments) -> ExitCode {
    let cli: cli::DlqHandler = cli::parse(arguments);
    context::main(&cli.common, cli.sets(), Guard::On, async |context| dlq::main(context, &cli).await)
}

/// Runs `api_service`.
#[cfg(feature = "shop")]
pub fn api_service(arguments: Arguments) -> ExitCode {
    let cli: cli::ApiService = cli::parse(arguments);
    context::main(&cli.common, cli.sets(), Guard::On, async |context| {
        shop::api_service::main(context, &cli).await
    })
}

/// Runs `payment_processor`.
#[cfg(feature = "shop")]
pub fn payment_processor(arguments: Arguments) -> ExitCode {
    let cli: cli::PaymentProcessor = cli::parse(arguments);
    context::main(&cli.common, cli.sets(), Guard::On, async |context| {
        shop::payment_processor::main(context, &cli).await
    })
}

/// Runs `notifier`.
#[cfg(feature = "shop")]
pub fn notifier(arguments: Arguments) -> ExitCode {
    let cli: cli::Notifier = cli::parse(arguments);
    context::main(&cli.common, cli.sets(), Guard::On, async |context| {
        shop::notifier::main(context, &cli).await
    })
}

/// Runs `transaction_generator`.
#[cfg(feature = "shop")]
pub fn transaction_generator(arguments: Arguments) -> ExitCode {
    let cli: cli::TransactionGenerator = cli::parse(arguments);
    context::main(&cli.common, Vec::new(), Guard::Exempt, async |context| {
        shop::transaction_generator::main(context, &cli).await
    })
}

/// Runs `ecom_setup`.
pub fn ecom_setup(arguments: Arguments) -> ExitCode {
    let cli: cli::Setup = cli::parse(arguments);
    if let Some(cli::SetupCommand::Completions { shell }) = cli.command {
        return completions::completions(shell);
    }
    context::main(&cli.common, cli.sets(), Guard::On, async |context| setup::main(context, &cli).await)
}

/// Runs `ecom_facts`.
pub fn ecom_facts(arguments: Arguments) -> ExitCode {
    let cli: cli::Facts = cli::parse(arguments);
    context::main(&cli.common, Vec::new(), Guard::On, async |context| facts::main(context, &cli).await)
}

/// Runs `ecom_demo`.
pub fn ecom_demo(arguments: Arguments) -> ExitCode {
    let cli: cli::Demo = cli::parse(arguments);
    let own = |loaded: &Loaded| {
        let own = demo::own_settings(loaded, cli.orders);
        #[cfg(feature = "shop-embedded")]
        let own = if cli.shop { [own, shop::demo::own_settings(loaded)].concat() } else { own };
        own
    };
    let demo = async |context| demo::main(context, &cli).await;
    context::main_with(&cli.common, cli.sets(), own, Guard::Exempt, demo)
}
