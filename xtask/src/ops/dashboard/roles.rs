//! All roles on the embedded bus and store, under a load that uses every kind of metric.

use crate::guard::Guard;
use crate::processes::{CONFIGURATION, remove_variables, wait_until};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The roles, with arguments that some need. `dlq_handler` comes last: it reads the heartbeats of the others when it
/// starts, and again only after a minute.
const ROLES: [(&str, &[&str]); 8] = [
    ("order_consumer", &[]),
    ("payment_consumer", &[]),
    ("api_service", &["--listen", "127.0.0.1:0"]),
    ("payment_processor", &[]),
    ("notifier", &[]),
    ("orders_producer", PRODUCED),
    ("payments_producer", PRODUCED),
    ("dlq_handler", &[]),
];
const PRODUCED: &[&str] = &["--order-ids", "1-100000", "--rate", "40/s"];
/// Orders that are late, missing or invalid, so that within seconds dead letters recover, are parked, or are poison.
const SETTINGS: &str = "\
[consumer]
order_grace = \"100ms\"

[producer]
late_orders = 0.2
late_by = 40
missing_orders = 0.1
invalid = 0.1

[dead_letters]
first_retry = \"500ms\"
max_backoff = \"1s\"
max_age = \"5s\"

[shop.processor]
payment_delay = \"0s\"
";
/// The time limit of a start.
const LIMIT: Duration = Duration::from_secs(60);

/// Started roles, which the guard ends.
pub(super) struct Roles {
    /// The folder that they run in, with their logs.
    out: PathBuf,
    /// Their process group.
    group: i32,
    /// The addresses of their admin ports.
    targets: Vec<String>,
}

impl Roles {
    /// Starts every role, and a client of the API, in a folder of their own.
    pub(super) fn start(binaries: &Path, out: &Path, guard: &mut Guard) -> Result<Self> {
        fs::write(out.join("roles.toml"), SETTINGS).context("could not write the configuration")?;
        let mut roles = Self { out: out.to_owned(), group: 0, targets: Vec::new() };
        let (last, first) = ROLES.split_last().context("there are roles")?;
        for roles_at_once in [first, std::slice::from_ref(last)] {
            for (name, arguments) in roles_at_once {
                let mut command = Command::new(binaries.join(name));
                command.args(*arguments).args([
                    "-c",
                    "roles.toml",
                    "--embedded",
                    "--admin-listen",
                    "127.0.0.1:0",
                ]);
                let id = roles.spawn(&mut command, name)?;
                if roles.group == 0 {
                    guard.watch_group(id);
                    roles.group = i32::try_from(id).context("not a process id")?;
                }
            }
            for (name, _) in roles_at_once {
                let target = roles.logged(name, "serving /livez, /readyz and /metrics on http://")?;
                roles.targets.push(target);
                roles.logged(name, "using embedded at ")?;
            }
        }
        let api = roles.logged("api_service", "serving the API on http://")?;
        let api = api.split('/').next().unwrap_or_default();
        let mut client = Command::new(binaries.join("transaction_generator"));
        client.args(["--api", &format!("http://{api}"), "--creates", "both", "--interval", "100ms"]);
        roles.spawn(&mut client, "transaction_generator")?;
        Ok(roles)
    }

    /// Returns the addresses of the admin ports.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(String::as_str)
    }

    /// Starts a process among the roles, without this host's configuration; its output is `NAME.log`. Returns its id.
    pub(super) fn spawn(&self, command: &mut Command, name: &str) -> Result<u32> {
        remove_variables(command, &CONFIGURATION);
        command.env_remove("RUST_LOG");
        let log = File::create(self.out.join(format!("{name}.log"))).context("could not create a log")?;
        command.current_dir(&self.out).process_group(self.group).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        Ok(child.with_context(|| format!("could not start {name}"))?.id())
    }

    /// Waits until a role has logged these words; returns the word that follows them, up to a space or a comma.
    fn logged(&self, name: &str, words: &str) -> Result<String> {
        let file = self.out.join(format!("{name}.log"));
        let mut found = None;
        wait_until(LIMIT, || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let rest = text.split_once(words).map(|(_, rest)| rest);
            found = rest
                .filter(|rest| rest.contains('\n'))
                .and_then(|rest| rest.split([',', ' ', '\n']).next())
                .map(str::to_owned);
            found.is_some()
        });
        ensure!(found.is_some(), "{name} did not start, see {}", file.display());
        Ok(found.unwrap_or_default())
    }
}
