//! Exercises the manifests on a real node: setup, load, rollouts, kills, an outage, and the verification of every row.

use super::node::Cluster;
use super::relay::Relay;
use super::{Place, RENDERED};
use crate::ops::namespaces::ADDRESS;
use crate::processes::{signal, wait_until};
use crate::services;
use anyhow::{Context, Error, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ROLES: [&str; 6] =
    ["order-consumer", "payment-consumer", "dlq-handler", "api-service", "payment-processor", "notifier"];
/// The Secrets of deploy/kubernetes/README.md with a login. Cassandra asks for none here.
const LOGINS: [&str; 7] = [
    "ecom-setup",
    "order-consumer",
    "payment-consumer",
    "dlq-handler",
    "api-service",
    "payment-processor",
    "notifier",
];
/// A key of the API, and the content of the Secret with its hash.
const API_KEY: &str = "ecom_test";
const API_KEYS: &str = "keys=f76d9b6e587a20591e376458a4935be62c58f769395520d8eae710d6798f8796 shop test";
/// The folder of the manifests that the load's Jobs write; the user of the image owns it.
const MANIFESTS: &str = "/run/node/manifests";
const LOADS: [&str; 2] = ["orders-load", "payments-load"];
/// Longer than `connect.timeout`, after which a process without an admin port gives up.
const OUTAGE: Duration = Duration::from_secs(40);

/// Applies the overlay for tests and puts it under load; returns whether everything that was published is accounted for.
pub(super) fn passes(place: &Place<'_>, cluster: &Cluster) -> Result<bool> {
    for folder in RENDERED {
        // It reads the file as every program does, and refuses what it does not know.
        let folder = place.root.join("deploy/kubernetes").join(folder);
        cluster.run(&folder, &["ecom_setup", "--print-config"])?;
    }
    cluster.say("configurations read");
    let store = start_services(place)?;
    cluster.say("bus and store ready");
    install(place, cluster)?;
    rollout(cluster)?;
    let at_first = restarts(cluster)?;
    cluster.say(&format!("all roles ready; restarts: {at_first:?}"));

    for load in LOADS {
        kubectl(cluster, &["patch", "job", load, "--patch", r#"{"spec":{"suspend":false}}"#])?;
    }
    wait(cluster, "jsonpath={.status.ready}=1", &format!("job/{}", LOADS[0]))?;
    std::thread::sleep(Duration::from_secs(5));
    kubectl(cluster, &["rollout", "restart", "deployment"])?;
    rollout(cluster)?;
    under_load(cluster)?;
    cluster.say("rolling restart under load");

    let before = restarts(cluster)?;
    ensure!(
        before.values().all(|restarts| *restarts == 0),
        "a role was restarted by the kubelet: {before:?}"
    );
    for role in ["order_consumer", "payment_consumer"] {
        kill(role)?;
    }
    under_load(cluster)?;
    let killed = BTreeMap::from(ROLES.map(|role| (role.to_owned(), u64::from(role.ends_with("consumer")))));
    let restarted = wait_until(Duration::from_secs(120), || restarts(cluster).is_ok_and(|now| now == killed));
    ensure!(restarted, "not exactly the killed consumers were restarted: {:?}", restarts(cluster)?);
    rollout(cluster)?;
    cluster.say("consumers killed under load, and restarted");

    outage(cluster, &store)?;
    for load in LOADS {
        wait(cluster, "condition=complete", &format!("job/{load}"))?;
    }
    cluster.say("load published");
    buy(cluster)?;
    cluster.say("order of the API paid, confirmed and in the table");
    verify(cluster)
}

/// Starts bus and store, and relays to them from the node's address; returns the relay to the store.
fn start_services(place: &Place<'_>) -> Result<Relay> {
    let mut command = Command::new("true");
    let dir = Path::new("/run/node/services");
    let missing = services::up_for(&mut command, place.root, dir, services::Logins::Unused)?;
    if let Some((_, error)) = missing.into_iter().next() {
        return Err(place.lacks(&format!("{error:#}")));
    }
    let address = |name: &str| -> Result<String> {
        let value = command.get_envs().find(|(variable, _)| *variable == name).and_then(|(_, value)| value);
        Ok(value.with_context(|| format!("{name} is not set"))?.to_string_lossy().into_owned())
    };
    // The ports that overlays/ci/ecom.toml names.
    let start = |service: services::Service, port| {
        Relay::start(SocketAddr::from((ADDRESS, port)), address(service.variable())?)
    };
    start(services::Service::Emulator, 8085)?;
    start(services::Service::Cassandra, 9042)
}

/// Creates Secrets, applies the overlay and waits for the setup Job.
fn install(place: &Place<'_>, cluster: &Cluster) -> Result<()> {
    fs::create_dir_all(MANIFESTS)?;
    chown(MANIFESTS, Some(65532), Some(65532))?;
    let overlay = place.root.join("deploy/kubernetes/overlays/ci");
    kubectl(cluster, &["apply", "-f", &overlay.join("namespace.yaml").to_string_lossy()])?;
    for role in LOGINS {
        let name = format!("cassandra-{role}");
        let values = ["--from-literal=user=test", "--from-literal=password=test"];
        kubectl(cluster, &[&["create", "secret", "generic", &name], &values[..]].concat())?;
    }
    let keys = format!("--from-literal={API_KEYS}");
    kubectl(cluster, &["create", "secret", "generic", "api-keys", &keys])?;
    kubectl(cluster, &["apply", "-k", &overlay.to_string_lossy()])?;
    wait(cluster, "condition=complete", "job/ecom-setup")?;
    cluster.say("setup complete");
    Ok(())
}

/// Has a role start during an outage of the store: it must wait for the end, and neither be restarted nor take the place of
/// the running pod.
fn outage(cluster: &Cluster, store: &Relay) -> Result<()> {
    let before = restarts(cluster)?;
    store.close();
    kubectl(cluster, &["rollout", "restart", "deployment/dlq-handler"])?;
    std::thread::sleep(OUTAGE);
    let pods = pods(cluster, "app.kubernetes.io/name=dlq-handler")?;
    let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
    let during = restarts(cluster)?;
    ensure!(running == 2, "{running} pods of dlq-handler run during the outage, not the old and the new one");
    ensure!(during == before, "restarts before the outage: {before:?}, at its end: {during:?}");
    store.open();
    rollout(cluster)?;
    let after = restarts(cluster)?;
    ensure!(after.values().sum::<u64>() <= before.values().sum(), "restarts {before:?}, later {after:?}");
    cluster.say("rollout during an outage: nothing was restarted");
    Ok(())
}

/// Orders over HTTP, and waits until every role of the shop and the pipeline has done its part.
fn buy(cluster: &Cluster) -> Result<()> {
    let pods = pods(cluster, "app.kubernetes.io/name=api-service")?;
    let address =
        pods.first().and_then(|pod| pod["status"]["podIP"].as_str()).context("api-service has no address")?;
    let orders = format!("http://{address}:8000/api/v1/orders");
    let ask = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "10", "-H", &format!("Authorization: Bearer {API_KEY}")]);
        let output = command.args(arguments).output().context("could not start curl")?;
        Ok::<_, Error>(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let order = r#"{"customer_id": 7, "lines": [{"item": "Laptop", "quantity": 1, "unit_price": 999}],
        "shipping_address": "1 Main St", "email": "ada@example.com", "payment_method": "Test: succeed"}"#;
    let headers = ["-H", "Content-Type: application/json", "-H", "Idempotency-Key: node-1"];
    ask(&[&headers[..], &["-d", order, &orders]].concat())?;
    let done = || {
        let order: Value =
            ask(&[&format!("{orders}/node-1")]).ok().and_then(|text| serde_json::from_str(&text).ok())?;
        let is_done = order["status"] == "Completed" && order["confirmation"]["status"] == "sent";
        (is_done && order["in_table"] == true).then_some(())
    };
    let in_time = wait_until(Duration::from_secs(120), || done().is_some());
    ensure!(in_time, "the order was not completed: {}", ask(&[&format!("{orders}/node-1")])?);
    Ok(())
}

/// Runs the Job that compares the tables with what was published; prints its output.
fn verify(cluster: &Cluster) -> Result<bool> {
    kubectl(cluster, &["patch", "job", "verify", "--patch", r#"{"spec":{"suspend":false}}"#])?;
    let ended = || {
        let status =
            cluster.server.clean(&["get", "job", "verify", "--output=jsonpath={.status.conditions[*].type}"]);
        status.map(|types| (types.contains("Complete"), types.contains("Failed"))).unwrap_or_default()
    };
    let mut passed = false;
    let in_time = wait_until(Duration::from_secs(540), || {
        let (complete, failed) = ended();
        passed = complete;
        complete || failed
    });
    println!("{}", cluster.server.clean(&["logs", "job/verify"])?.trim_end());
    ensure!(in_time, "the verification did not end");
    cluster.say("verified");
    Ok(passed)
}

/// Fails if the load has ended already, so that what was done was not done under load.
fn under_load(cluster: &Cluster) -> Result<()> {
    for load in LOADS {
        let active = cluster.server.clean(&["get", "job", load, "--output=jsonpath={.status.ready}"])?;
        ensure!(active == "1", "the load ended too early: {load}");
    }
    Ok(())
}

/// Waits until all Deployments have the pods that they want, all ready.
fn rollout(cluster: &Cluster) -> Result<()> {
    for role in ROLES {
        let name = format!("deployment/{role}");
        if let Err(error) = cluster.server.clean(&["rollout", "status", &name, "--timeout=180s"]) {
            let state = cluster.server.clean(&["describe", "pods"]).unwrap_or_default();
            bail!("{error:#}\n{state}");
        }
    }
    Ok(())
}

/// Kills the process of a role.
fn kill(role: &str) -> Result<()> {
    let is_role = |entry: &fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).next() == Some(role.as_bytes())
    };
    let processes = || fs::read_dir("/proc").into_iter().flatten().flatten().filter(is_role);
    // The process of a pod that was replaced may still finish its messages.
    let is_alone = wait_until(Duration::from_secs(60), || processes().count() == 1);
    ensure!(is_alone, "{} processes of {role} run", processes().count());
    let id = processes().next().context("the process has ended")?.file_name();
    signal(id.to_string_lossy().parse().context("not a process id")?, Signal::KILL)
}

/// Returns how often the kubelet has restarted the containers of each role.
fn restarts(cluster: &Cluster) -> Result<BTreeMap<String, u64>> {
    let mut restarts = BTreeMap::new();
    for pod in pods(cluster, "app.kubernetes.io/name")? {
        let name = pod["metadata"]["labels"]["app.kubernetes.io/name"].as_str().unwrap_or_default();
        let statuses = pod["status"]["containerStatuses"].as_array();
        let count = statuses.into_iter().flatten().filter_map(|status| status["restartCount"].as_u64());
        if ROLES.contains(&name) {
            *restarts.entry(name.to_owned()).or_default() += count.sum::<u64>();
        }
    }
    Ok(restarts)
}

/// Returns the pods with a label that are not being deleted.
fn pods(cluster: &Cluster, selector: &str) -> Result<Vec<Value>> {
    let text = cluster.server.clean(&["get", "pods", "--output=json", "--selector", selector])?;
    let list: Value = serde_json::from_str(&text).context("kubectl prints no JSON")?;
    let pods = list["items"].as_array().into_iter().flatten();
    Ok(pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect())
}

fn wait(cluster: &Cluster, condition: &str, object: &str) -> Result<()> {
    kubectl(cluster, &["wait", &format!("--for={condition}"), "--timeout=240s", object])
}

/// Runs kubectl; a warning is an error.
fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<()> {
    cluster.server.clean(arguments).map(drop)
}
