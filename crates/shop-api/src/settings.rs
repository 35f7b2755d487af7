//! The settings of the API: the section `[shop.api]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use ecom_config::fields::{checked, number, path_or_none};
use ecom_config::hosts;

/// The longest time of a request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time in which a client sends the headers of a request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time in which a client sends the body of a request.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time in which a client takes nothing of an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;

/// The settings of the API.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSettings {
    /// The address to listen on, `host:port`; `127.0.0.1:8000` by default.
    #[serde(deserialize_with = "host_and_port")]
    pub listen: String,
    /// The file of API keys; `None` (the default) requires none.
    #[serde(deserialize_with = "path_or_none")]
    pub keys_file: Option<PathBuf>,
    /// The most requests at the same time; 1,024 by default.
    #[serde(deserialize_with = "number::<_, _, 1, 65_536>")]
    pub max_in_flight: usize,
    /// The requests a second of one key; 100 by default. Not applied where no key is required.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub rate: u32,
    /// The requests of one key at once; 200 by default.
    #[serde(deserialize_with = "number::<_, _, 1, 1_000_000>")]
    pub burst: u32,
}

fn host_and_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |text| hosts::host_and_port(&text))
}
