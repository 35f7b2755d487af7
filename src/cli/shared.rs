//! Flags that all binaries share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, ValueEnum};

use super::given;
use ecom_config::Set;

/// Flags that all binaries share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Shared options")]
pub(crate) struct Common {
    /// Configuration file; repeatable, later files win (ECOM_CONFIG, colon-separated).
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(crate) config: Vec<PathBuf>,
    /// Set one configuration key (ECOM__SECTION__KEY).
    #[arg(long, value_name = "SECTION.KEY=VALUE", global = true, value_parser = set())]
    set: Vec<Set>,
    /// Use the embedded bus and store in the data folder.
    #[arg(long, global = true)]
    pub(crate) embedded: bool,
    /// Data folder of embedded bus and store (ECOM__EMBEDDED__DATA_DIR).
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Google Cloud project (GOOGLE_CLOUD_PROJECT).
    #[arg(long, value_name = "ID", global = true)]
    project: Option<String>,
    /// Check everything this command needs, and exit; exit code 3 if something is missing.
    #[arg(long, global = true)]
    pub(crate) check: bool,
    /// Print all settings with their origins, and exit.
    #[arg(long, global = true)]
    pub(crate) print_config: bool,
    /// Log format (ECOM__LOG__FORMAT).
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<LogFormat>,
    /// Log more; repeatable.
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    verbose: u8,
    /// Log less; repeatable.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    quiet: u8,
    /// Serve /livez, /readyz and /metrics at this address (ECOM__ADMIN__LISTEN).
    #[arg(long, value_name = "HOST:PORT", global = true)]
    admin_listen: Option<String>,
    /// Write a summary of the run to this file, as JSON.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) summary: Option<PathBuf>,
    /// Timeout of the first connection to bus and store, e.g. 30s (ECOM__CONNECT__TIMEOUT).
    #[arg(long, value_name = "DURATION", global = true)]
    connect_timeout: Option<String>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
    Gcp,
}

impl LogFormat {
    /// Returns its value in the configuration.
    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Gcp => "gcp",
        }
    }
}

/// The arguments that only a role has a use for.
pub(super) const OF_ROLES: &[&str] = &["summary", "admin_listen"];

impl Common {
    /// The settings of the flags that were given.
    pub(crate) fn sets(&self) -> Vec<Set> {
        let mut sets = self.set.clone();
        if self.embedded {
            sets.extend(Set::embedded());
        }
        sets.extend(
            self.data_dir.as_ref().map(|dir| Set::flag("--data-dir", "embedded.data_dir", dir.as_os_str())),
        );
        sets.extend(given(&[
            ("--project", "bus.pubsub.project", self.project.clone()),
            ("--log-format", "log.format", self.log_format.map(|format| format.as_str().to_owned())),
            ("--admin-listen", "admin.listen", self.admin_listen.clone()),
            ("--connect-timeout", "connect.timeout", self.connect_timeout.clone()),
        ]));
        sets
    }

    /// These flags, changed to use embedded bus and store in this folder.
    pub(crate) fn on_folder(self, folder: &std::path::Path) -> Self {
        Self {
            config: Vec::new(),
            set: Vec::new(),
            embedded: !self.config.is_empty(),
            data_dir: Some(folder.to_owned()),
            project: None,
            ..self
        }
    }

    /// The flags that choose bus and store, for a command on the same ones.
    pub(crate) fn places(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = Vec::new();
        for file in &self.config {
            flags.extend(["-c".into(), file.into()]);
        }
        for set in &self.set {
            let mut assignment = OsString::from(format!("{}=", set.key));
            assignment.push(&set.value);
            flags.extend(["--set".into(), assignment]);
        }
        if self.embedded {
            flags.push("--embedded".into());
        }
        if let Some(dir) = &self.data_dir {
            flags.extend(["--data-dir".into(), dir.into()]);
        }
        if let Some(project) = &self.project {
            flags.extend(["--project".into(), project.into()]);
        }
        flags
    }

    /// The change of log verbosity: positive = more, negative = less.
    pub(crate) fn verbosity(&self) -> i8 {
        let clamp = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        clamp(self.verbose) - clamp(self.quiet)
    }
}

/// Reads a key and its value, which may be a path of any bytes.
fn set() -> impl TypedValueParser<Value = Set> {
    OsStringValueParser::new().try_map(|text| Set::try_from(text.as_os_str()))
}
