//! The confirmations of the story, as files.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::exit::CliError;
use ecom_shop_notifier::sender::Sender;
use ecom_shop_notifier::settings::{Channel, NotifierSettings};

/// The folder of the mails in the data folder.
pub(super) const FOLDER: &str = "mail";

/// The mails, and the orders that each is to be of.
#[derive(Default, Serialize)]
pub(super) struct Mails {
    pub(super) paid_orders: u64,
    pub(super) mails: u64,
}

impl Mails {
    /// Counts the mails in the data folder.
    pub(super) fn count(folder: &Path, orders: &BTreeMap<&'static str, u64>) -> Result<Self, CliError> {
        let folder = folder.join(FOLDER);
        let failed =
            |error| CliError::failed(format!("could not count the mails in {}: {error}", folder.display()));
        let mut mails = 0;
        for file in std::fs::read_dir(&folder).map_err(failed)? {
            mails += u64::from(file.map_err(failed)?.path().extension().is_some_and(|name| name == "eml"));
        }
        let paid_orders = ["paid", "completed"].iter().filter_map(|state| orders.get(state)).sum();
        Ok(Self { paid_orders, mails })
    }

    /// Returns whether there are as many mails as paid orders.
    pub(super) fn is_clean(&self) -> bool {
        self.mails == self.paid_orders
    }
}

/// Empties the folder of the mails of an earlier demo, and returns a sender to it, whatever channel is configured: nobody
/// outside is told about the orders of a demo.
pub(super) fn sender(config: &Config, folder: &Path) -> Result<Arc<dyn Sender>, CliError> {
    let folder = folder.join(FOLDER);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(CliError::failed(format!("could not empty {}: {error}", folder.display())));
        }
        Ok(()) | Err(_) => {}
    }
    let settings = &config.shop.notifier;
    let settings = NotifierSettings { channel: Channel::Folder, folder: None, ..settings.clone() };
    settings.sender(Some(&folder)).map_err(|fault| CliError::usage(fault.to_string()))
}
