//! Backup and restore: the commands of docs/operations.md, run as they are written on a real Cassandra node and the Pub/Sub
//! emulator, under load, and on the embedded store.

use super::Place;
use crate::cargo;
use crate::guard::Guard;
use crate::processes::{self, CONFIGURATION, free_ports, remove_variables};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PAGE: &str = "docs/operations.md";
/// The binaries, with the features that the tests have.
const BUILD: &str = "build --all-features --package ecom --bins";
const PIPELINE: [&str; 3] = ["order_consumer", "payment_consumer", "dlq_handler"];
const SHOP: [&str; 3] = ["api_service", "payment_processor", "notifier"];
const STREAMS: &str = "ECOM__CONSUMER__STREAMS";
/// The manifests of the producers.
const MANIFESTS: [&str; 4] = ["--manifest", "orders.json", "--manifest", "payments.json"];
/// The rate of either producer.
const RATE: &str = "50/s";
/// The number of the shop's requests before the backup.
const REQUESTS: &str = "60";
/// The time limit of a command of the page, and of processes that end.
const LIMIT: Duration = Duration::from_secs(600);

/// Backs up under load, loses the store, restores and replays; returns whether nothing is missing.
pub(super) fn from_backup(place: &Place<'_>) -> Result<bool> {
    let page = fs::read_to_string(place.root.join(PAGE)).with_context(|| format!("could not read {PAGE}"))?;
    for program in ["gcloud", "bash", "curl", "tar", "sqlite3"] {
        place.program(program, "install the packages google-cloud-cli, curl, tar and sqlite3")?;
    }
    ensure!(place.is_done(cargo(place.root, BUILD, &[]))?, "the binaries do not build");
    let out = std::path::absolute(place.root.join("target/ops/restore"))?;
    let _ = fs::remove_dir_all(&out);
    let services = out.join("services");
    fs::create_dir_all(out.join("bin"))?;
    Guard::over(&services, |guard| {
        // The first of the process group that the guard ends, however this check ends.
        let leader = Command::new("sleep").arg("infinity").process_group(0).spawn()?.id();
        guard.watch_group(leader);
        let mut run = Run::start(place, &out, &services, i32::try_from(leader)?)?;
        let result = run.on_services(&page).and_then(|()| run.embedded(&page));
        result.with_context(|| format!("the logs are in {}", out.display()))?;
        Ok(true)
    })
}

/// The services of this check, and the processes that it has started on them.
struct Run {
    out: PathBuf,
    /// The process group of everything but the services.
    group: i32,
    /// The variables of all commands.
    variables: Vec<(String, String)>,
    processes: Vec<(&'static str, Child)>,
}

impl Run {
    /// Starts a node with JMX, which `nodetool` needs, and an emulator.
    fn start(place: &Place<'_>, out: &Path, services: &Path, group: i32) -> Result<Self> {
        let [jmx] = free_ports()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["services", "up", "--free-ports", "--commitlog-sync", "batch", "--env", "--dir"]);
        command.arg(services).stdin(Stdio::null()).current_dir(place.root);
        command.env_remove("PUBSUB_EMULATOR_HOST").env_remove("CASSANDRA_CONTACT_POINTS");
        command.env("JDK_JAVA_OPTIONS", format!("-Dcassandra.jmx.local.port={jmx}"));
        let output = command.stderr(Stdio::inherit()).output().context("could not start the services")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let address = |variable: &str| {
            let start = format!("export {variable}=");
            let address = text.lines().find_map(|line| line.strip_prefix(&start));
            address.map(str::to_owned).ok_or_else(|| place.lacks("the services do not start"))
        };
        let (emulator, node) = (address("PUBSUB_EMULATOR_HOST")?, address("CASSANDRA_CONTACT_POINTS")?);
        let (host, port) = node.rsplit_once(':').context("the node has no port")?;

        let bin = out.join("bin");
        script(&bin.join("nodetool"), &nodetool(services, out, jmx)?)?;
        let cqlsh = place.cqlsh()?.join("cqlsh");
        script(&bin.join("cqlsh"), &format!("exec {:?} {host} {port} \"$@\"", std::path::absolute(cqlsh)?))?;
        let (keys, [api]) = (out.join("keys"), free_ports()?);
        let configuration = format!(
            "[bus]\nkind = \"pubsub\"\n[bus.pubsub]\nproject = \"restore\"\nack_deadline = \"10s\"\nemulator_host = \"{emulator}\"\n\
             [store]\nkind = \"cassandra\"\n[store.cassandra]\ncontact_points = [\"{node}\"]\n\
             [shop.api]\nlisten = \"127.0.0.1:{api}\"\nkeys_file = {keys:?}\nrate = 100000\nburst = 100000\n\
             [shop.processor]\npayment_delay = \"0s\"\ncompletion_delay = \"1s\"\n[shop.notifier]\nfolder = {:?}\n",
            out.join("mail")
        );
        fs::write(out.join("run.toml"), configuration)?;
        let programs = std::path::absolute(place.target().join("debug"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let variables = [
            ("PATH", format!("{}:{}:{path}", bin.display(), programs.display())),
            ("ECOM_CONFIG", out.join("run.toml").display().to_string()),
            ("DATA", services.join("cassandra/data").display().to_string()),
            ("BACKUP", "ecom-restore".to_owned()),
            // A payment whose order is replayed later is not to wait for minutes.
            ("ECOM__DEAD_LETTERS__MAX_BACKOFF", "5s".to_owned()),
            ("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("http://{emulator}/")),
            ("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true".to_owned()),
            ("CLOUDSDK_CORE_PROJECT", "restore".to_owned()),
            ("CLOUDSDK_CORE_DISABLE_PROMPTS", "1".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(Self { out: out.to_owned(), group, variables, processes: Vec::new() })
    }

    /// The page's procedure on Pub/Sub and Cassandra.
    fn on_services(&mut self, page: &str) -> Result<()> {
        self.call("ecom_setup", &[])?;
        self.use_streams(1);
        self.bash("api_service key --role shop --name load >key 2>line\ntail -n1 line >keys")?;
        for role in PIPELINE.into_iter().chain(SHOP) {
            self.spawn(role, &[])?;
        }
        self.bash(&format!(
            "api=http://$(sed -n 's/^listen = \"\\(.*\\)\"/\\1/p' run.toml)
             until curl -fs \"$api/readyz\"; do sleep 0.2; done
             transaction_generator --api \"$api\" --key-file key --users 8 --think 0 --creates both --count {REQUESTS}"
        ))?;
        // An order that is paid completes a second later, and would be overdue once the shop is stopped.
        self.bash("while ecom_facts verify --shop --wait 3m | grep '^orders *paid'; do sleep 1; done")?;
        self.call("ecom_facts", &["verify", "--shop", "--wait", "3m"])?;
        // What it records from here on would not be in the backup.
        self.stop(&SHOP)?;

        eprintln!("backing up under load");
        for (producer, manifest) in
            [("orders_producer", "orders.json"), ("payments_producer", "payments.json")]
        {
            self.spawn(producer, &["--rate", RATE, "--manifest", manifest])?;
        }
        std::thread::sleep(Duration::from_secs(10));
        self.section(page, "### Back up Pub/Sub")?;
        self.stop(&["dlq_handler"])?;
        self.section(page, "### Back up Cassandra")?;
        self.use_streams(4);
        self.spawn("dlq_handler", &[])?;
        std::thread::sleep(Duration::from_secs(10));
        self.stop(&["orders_producer", "payments_producer"])?;
        self.at_rest("before")?;
        self.stop(&PIPELINE)?;

        eprintln!("restoring");
        self.section(page, "### Restore")?;
        let status = self.verify("restored", "0s")?;
        let differences = self.differences("restored")?;
        ensure!(status == Some(3) && differences > 0, "the backup has everything: nothing is left to replay");
        eprintln!("without the replay, ecom_facts verify finds {differences} differences");
        self.section(page, "### Replay")?;
        self.use_streams(16);
        for role in PIPELINE.into_iter().chain(SHOP) {
            self.spawn(role, &[])?;
        }
        self.at_rest("after")?;
        self.stop(&PIPELINE)?;
        self.stop(&SHOP)?;
        let read = |name: &str| fs::read_to_string(self.out.join(format!("{name}.facts")));
        ensure!(read("before")? == read("after")?, "before.facts and after.facts differ");
        Ok(())
    }

    /// The page's procedure on the embedded default: bus and store are one file, so messages that were not processed are in
    /// the backup.
    fn embedded(&mut self, page: &str) -> Result<()> {
        eprintln!("the embedded default");
        let folder = self.out.join("embedded");
        fs::create_dir_all(&folder)?;
        self.variables.retain(|(name, _)| name != "ECOM_CONFIG");
        self.out = folder;
        for (producer, manifest) in
            [("orders_producer", "orders.json"), ("payments_producer", "payments.json")]
        {
            let load = ["--embedded", "--order-ids", "1-6000", "--rate", "max", "--manifest", manifest];
            self.call(producer, &load)?;
        }
        for role in PIPELINE {
            self.spawn(role, &["--embedded"])?;
        }
        let rows =
            |file: &str| format!("$(sqlite3 {file} 'SELECT count(payment_id) FROM orders_payments_facts')");
        self.bash(&format!("until (({} > 0)); do sleep 0.1; done", rows("data/ecom_store.db")))?;
        self.section(page, "### Back up the embedded store")?;
        self.stop(&PIPELINE)?;
        let (before, after) = (rows("backup.db"), rows("data/ecom_store.db"));
        self.bash(&format!("echo {before} of {after} rows; (({before} < {after})); rm -r data"))
            .context("the backup has everything: nothing is left to process")?;
        self.section(page, "### Restore the embedded store")?;
        for role in PIPELINE {
            self.spawn(role, &["--embedded"])?;
        }
        let verify = ["verify", "--embedded", "--wait", "2m"];
        self.call("ecom_facts", &[&verify[..], &MANIFESTS].concat())?;
        self.stop(&PIPELINE)
    }

    /// Sets the number of streams of what is started from here on. The emulator goes on sending to the streams of a process
    /// that has ended, so each start needs more of them than the one before.
    fn use_streams(&mut self, number: u32) {
        self.variables.retain(|(name, _)| name != STREAMS);
        self.variables.push((STREAMS.to_owned(), number.to_string()));
    }

    /// Waits until every event is accounted for, and writes the rows to `NAME.facts`.
    fn at_rest(&mut self, name: &str) -> Result<()> {
        // A busy node may cut a read short; that is exit code 1.
        let mut status = Some(1);
        for _ in 0..5 {
            if status == Some(1) {
                status = self.verify(name, "5m")?;
            }
        }
        ensure!(status == Some(0), "ecom_facts verify ended with {status:?}, see ecom_facts.log");
        let export = format!("ecom_facts export --format json | sort >{name}.facts\ntest -s {name}.facts");
        self.bash(&export)
    }

    /// Verifies the store, and writes the result to `NAME.json`; returns the exit code.
    fn verify(&self, name: &str, wait: &str) -> Result<Option<i32>> {
        let json = format!("{name}.json");
        let verify = ["verify", "--shop", "--wait", wait, "--format", "json", "--out", &json];
        let mut command = self.command("ecom_facts", &[&verify[..], &MANIFESTS].concat())?;
        Ok(command.status().context("could not start ecom_facts")?.code())
    }

    /// Returns the number of differences in `NAME.json`.
    fn differences(&self, name: &str) -> Result<u64> {
        let text = fs::read(self.out.join(format!("{name}.json")))?;
        let result: Value = serde_json::from_slice(&text).context("the verification is not JSON")?;
        let faults = result["faults"].as_object().context("the verification counts no faults")?;
        Ok(faults.values().filter_map(Value::as_u64).sum())
    }

    /// Runs the commands of a section of the page.
    fn section(&self, page: &str, heading: &str) -> Result<()> {
        let commands = commands(page, heading);
        ensure!(!commands.is_empty(), "{PAGE} has no commands under {heading}");
        self.bash(&commands).with_context(|| format!("{PAGE}, {heading}"))
    }

    fn bash(&self, commands: &str) -> Result<()> {
        self.call("bash", &["-euo", "pipefail", "-c", commands])
    }

    /// Runs a command to its end, which has to be a success. Its output is added to its log.
    fn call(&self, name: &'static str, arguments: &[&str]) -> Result<()> {
        let mut child =
            self.command(name, arguments)?.spawn().with_context(|| format!("could not start {name}"))?;
        wait(name, &mut child)
    }

    /// Starts a process that [`Self::stop`] ends.
    fn spawn(&mut self, name: &'static str, arguments: &[&str]) -> Result<()> {
        let child = self.command(name, arguments)?.spawn();
        self.processes.push((name, child.with_context(|| format!("could not start {name}"))?));
        Ok(())
    }

    /// Ends these processes, which have to succeed.
    fn stop(&mut self, names: &[&str]) -> Result<()> {
        let (stopped, others) = self.processes.drain(..).partition(|(name, _)| names.contains(name));
        self.processes = others;
        let stopped: Vec<(&str, Child)> = stopped;
        for (_, child) in &stopped {
            // One that has ended by itself gets no signal.
            let _ = processes::signal(child.id(), Signal::TERM);
        }
        stopped.into_iter().try_for_each(|(name, mut child)| wait(name, &mut child))
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let path = self.variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
        let program = which::which_in(name, path, &self.out).with_context(|| format!("found no {name}"))?;
        let log = File::options().create(true).append(true).open(self.out.join(format!("{name}.log")))?;
        let mut command = Command::new(program);
        remove_variables(&mut command, &CONFIGURATION);
        command.env_remove("CLOUDSDK_CORE_PROJECT");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).current_dir(&self.out).process_group(self.group);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

fn wait(name: &str, child: &mut Child) -> Result<()> {
    let mut ended = None;
    processes::wait_until(LIMIT, || {
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    let Some(status) = ended.transpose()? else {
        let _ = child.kill();
        bail!("{name} did not end within {} s", LIMIT.as_secs());
    };
    ensure!(status.success(), "{name} ended with {status}, see {name}.log");
    Ok(())
}

/// Returns the commands of the `sh` blocks below a heading, up to the next heading.
fn commands(page: &str, heading: &str) -> String {
    let Some((_, section)) = page.split_once(&format!("\n{heading}\n")) else { return String::new() };
    let section = section.split("\n#").next().unwrap_or_default();
    let blocks = section.split("\n```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.collect()
}

/// Returns a script that runs nodetool on the node of this folder, with the node's Java and jars.
fn nodetool(services: &Path, out: &Path, jmx: u16) -> Result<String> {
    let started = fs::read(services.join("cassandra.json")).context("no Cassandra node was started")?;
    let started: Value = serde_json::from_slice(&started)?;
    let pid = &started["runner"]["native"]["pid"];
    ensure!(pid.is_u64(), "the node is no process of this host");
    let java = fs::read_link(format!("/proc/{pid}/exe")).context("could not find the node's Java")?;
    let line =
        fs::read_to_string(format!("/proc/{pid}/cmdline")).context("could not read the node's command")?;
    let mut words = line.split('\0').skip_while(|word| *word != "-cp");
    let class_path = words.nth(1).context("the node has no class path")?;
    let exports =
        ["jdk.internal.ref", "sun.nio.ch"].map(|it| format!("--add-exports java.base/{it}=ALL-UNNAMED"));
    let opens = ["java.lang.module", "jdk.internal.module"]
        .map(|it| format!("--add-opens java.base/{it}=ALL-UNNAMED"));
    Ok(format!(
        "exec {java:?} -Xmx128m {} {} -Dcassandra.storagedir={out:?} -cp {class_path:?} \
         org.apache.cassandra.tools.NodeTool -h 127.0.0.1 -p {jmx} \"$@\"",
        exports.join(" "),
        opens.join(" ")
    ))
}

/// Writes an executable shell script.
fn script(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{text}\n"))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_its_own_commands_alone() {
        let page = "# P\n\n### A\n\n```sh\none\n```\n\ntext\n\n```text\nno\n```\n\n```sh\ntwo\n```\n\n### AB\n\n```sh\nthree\n```\n";
        assert_eq!(commands(page, "### A"), "one\ntwo\n");
        assert_eq!(commands(page, "### AB"), "three\n");
        assert_eq!(commands(page, "### B"), "");
    }
}
