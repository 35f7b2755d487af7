//! `[embedded]`: bus and store in one folder.

use std::path::PathBuf;
use std::time::Duration;

use super::super::reader::Reader;

/// Bus and store in one folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmbeddedConfig {
    /// The folder, relative to the working directory.
    pub data_dir: PathBuf,
    /// How long a lease lasts without renewal, 1 s to 10 min.
    pub ack_deadline: Duration,
}

impl EmbeddedConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let data_dir = reader.parsed("embedded.data_dir", |text| match text {
            "" => Err("must not be empty".to_owned()),
            text => Ok(PathBuf::from(text)),
        });
        let ack_deadline =
            reader.duration("embedded.ack_deadline", Duration::from_secs(1)..=Duration::from_mins(10));
        Some(Self { data_dir: data_dir?, ack_deadline: ack_deadline? })
    }
}
