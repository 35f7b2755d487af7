//! The role `notifier`.

use std::path::PathBuf;
use std::sync::Arc;

use super::stores::ShopStores;
use crate::admin::run_with_admin;
use crate::cli;
use crate::config::{self, Config};
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::role_handle::RoleHandle;
use crate::roles::{RoleDeps, supervise};
use crate::setup::{self, Rights};
use ecom_config::{BusKind, StoreKind};
use ecom_domain::dead_letter::EventKind;
use ecom_domain::role::RoleName;
use ecom_pipeline::durable::Retrier;
use ecom_shop_notifier::notices::{Notices, NotifierDeps, backoff};
use ecom_shop_notifier::sender::Sender;

/// The name of the role.
pub(crate) const ROLE: RoleName = RoleName::new("notifier");
/// The folder of mails in the data folder.
const FOLDER: &str = "mail";

/// Runs `notifier`.
pub(crate) async fn main(context: Context, cli: &cli::Notifier) -> Result<Exit, CliError> {
    if context.common.check {
        let checked = context.config.shop.notifier.check(folder(&context.config)?.as_deref());
        checked.map_err(|fault| CliError::usage(fault.to_string()))?;
        return setup::check(&context, Rights::Of(ROLE)).await;
    }
    let sender = sender(&context.config)?;
    let context = context.of_role();
    let handle = RoleHandle::new(ROLE, &context);
    let notifying = async {
        let deps = RoleDeps::connect(&context, cli.consumer.bounds.bounds()).await?;
        let stores = ShopStores::of(&deps.store).await?;
        supervise(&context, &deps, &handle, deps.notify(&handle, stores, sender)).await
    };
    run_with_admin(&context, &[&handle], notifying).await
}

/// Returns the sender of the configuration. One without what it needs is a usage error.
pub(crate) fn sender(config: &Config) -> Result<Arc<dyn Sender>, CliError> {
    let sender = config.shop.notifier.sender(folder(config)?.as_deref());
    sender.map_err(|fault| CliError::usage(fault.to_string()))
}

/// Returns the folder of mails where none is configured; `None` without a data folder.
pub(crate) fn folder(config: &Config) -> Result<Option<PathBuf>, CliError> {
    let is_embedded = config.bus.kind == BusKind::Embedded || config.store.kind == StoreKind::Embedded;
    Ok(if is_embedded { Some(config::data_dir(config)?.join(FOLDER)) } else { None })
}

impl RoleDeps {
    /// Confirms paid orders until stopped or a stop condition is met.
    pub(crate) async fn notify(
        &self,
        handle: &RoleHandle,
        stores: ShopStores,
        sender: Arc<dyn Sender>,
    ) -> Result<(), CliError> {
        let settings = &self.config.shop.notifier;
        let source = self.config.shop.subscriptions.notices.clone();
        let dead_letters = self.dead_letter_publisher(EventKind::Order, &source, handle).await?;
        let sending = Retrier::new(Arc::clone(&self.entropy), Arc::clone(&handle.metrics));
        let notices = Notices::new(NotifierDeps {
            orders: stores.orders,
            sender,
            timeout: settings.timeout,
            concurrency: settings.concurrency,
            dead_letters,
            retrier: Arc::clone(&handle.retrier),
            sending: sending.with_backoff(backoff()),
            clock: self.clock,
        });
        // Most of those in flight wait to be sent again, which costs nothing: as many as memory is for.
        let in_flight = self.config.consumer.max_in_flight;
        self.consume(notices, &source, in_flight, None, handle).await
    }
}
