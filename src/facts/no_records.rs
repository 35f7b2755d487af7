//! The records of a program without the shop: none.

use serde::Serialize;

use crate::context::Context;
use crate::exit::CliError;
use crate::render::screen::Screen;
use crate::wiring::{DataFolder, Store};
use ecom_scenario::RecordedEvent;

/// No records.
pub(super) struct Records;

/// What no records add up to.
#[derive(Serialize)]
pub(super) struct RecordsFound {}

impl Records {
    /// Returns what the data folder must be.
    pub(super) fn folder(_: bool) -> DataFolder {
        DataFolder::MustExist
    }

    /// Returns no records.
    #[expect(clippy::unused_async, reason = "as with the shop")]
    pub(super) async fn of(_: &Context, _: &Store, _: bool) -> Result<Self, CliError> {
        Ok(Self)
    }

    /// Returns no subscription: without the shop all messages are events.
    pub(super) fn without_events(&self, _: &Context) -> Vec<String> {
        Vec::new()
    }

    /// Returns no events.
    #[expect(clippy::unused_async, reason = "as with the shop")]
    pub(super) async fn read(&self, _: &Context) -> Result<(Vec<RecordedEvent>, RecordsFound), CliError> {
        Ok((Vec::new(), RecordsFound {}))
    }
}

impl RecordsFound {
    /// Returns true.
    pub(super) fn is_clean(&self) -> bool {
        true
    }

    /// Returns an empty text.
    pub(super) fn text(&self, _: Screen) -> String {
        String::new()
    }
}
