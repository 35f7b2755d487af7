//! The Grafana dashboard: whether it is as its script prints it, and whether a Prometheus that scrapes real roles answers
//! each of its queries. The alerts are evaluated meanwhile.

mod roles;

use super::Place;
use super::prometheus::{ALERTS, WATCHDOG, programs};
use crate::guard::Guard;
use crate::processes::{free_ports, wait_until};
use anyhow::{Context, Result, ensure};
use roles::Roles;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DASHBOARD: &str = "deploy/grafana/ecom.json";
const SCRIPT: &str = "xtask/src/ops/dashboard.py";
/// Logs, data and the printed dashboard of a run.
const OUT: &str = "target/ops/dashboard";
/// The time limit of the answers: the first dead letters have to be recovered and parked, and a handler that saw no heartbeat
/// when it started looks again after a minute.
const LIMIT: Duration = Duration::from_secs(90);
/// Metrics of Google Cloud, which no role exports: a query of theirs is only parsed.
const FOREIGN: [&str; 2] = ["stackdriver_", "pubsub_googleapis_com:"];

/// Compares the dashboard with its script, and asks its queries of a Prometheus that scrapes every role.
pub(super) fn check(place: &Place<'_>) -> Result<bool> {
    let out = place.root.join(OUT);
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).with_context(|| format!("could not create {}", out.display()))?;
    let is_printed = is_as_printed(place, &out)?;
    let dashboard = fs::read(place.root.join(DASHBOARD)).context("could not read the dashboard")?;
    let queries = queries(&serde_json::from_slice(&dashboard).context("the dashboard is not JSON")?)?;
    let (programs, binaries) = (programs(place)?, place.tested_programs()?);
    let mut guard = Guard::start(&out.join("guard"))?;
    let roles = Roles::start(&binaries, &out, &mut guard)?;
    let prometheus = Prometheus::start(&programs, &out, &roles, &place.root.join(ALERTS))?;
    prometheus.wait_for(&roles)?;
    let mut faults = Vec::new();
    let mut open: Vec<&Query> = queries.iter().collect();
    wait_until(LIMIT, || {
        faults = open.drain(..).filter_map(|query| Some((query, prometheus.fault_of(query)?))).collect();
        open = faults.iter().map(|(query, _)| *query).collect();
        open.is_empty()
    });
    for (query, fault) in &faults {
        println!("{}: {}: {fault}", query.place, query.expression);
    }
    println!("{} queries, {} faults", queries.len(), faults.len());
    Ok(is_printed & faults.is_empty() & prometheus.has_evaluated_alerts()?)
}

/// Returns whether the dashboard is what its script prints.
fn is_as_printed(place: &Place<'_>, out: &Path) -> Result<bool> {
    let bin = place.python("dashboard", &["grafana-foundation-sdk==1769699379!11.6.0"])?;
    let printed =
        Command::new(bin.join("python")).arg(place.root.join(SCRIPT)).stderr(Stdio::inherit()).output();
    let printed = printed.context("could not start Python")?;
    ensure!(printed.status.success(), "{SCRIPT} failed");
    let is_same = fs::read(place.root.join(DASHBOARD)).is_ok_and(|text| text == printed.stdout);
    if !is_same {
        let copy = out.join("ecom.json");
        fs::write(&copy, printed.stdout).with_context(|| format!("could not write {}", copy.display()))?;
        println!("{DASHBOARD} is not what {SCRIPT} prints: cp {} {DASHBOARD}", copy.display());
    }
    Ok(is_same)
}

/// A query of the dashboard.
struct Query {
    /// The panel or the variable that asks it.
    place: String,
    expression: String,
    /// Labels that the answer must have.
    labels: Vec<String>,
}

/// Returns the queries of all panels and variables.
fn queries(dashboard: &Value) -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    for variable in list(&dashboard["templating"]["list"]) {
        let (Some(name), Some("query")) = (variable["name"].as_str(), variable["type"].as_str()) else {
            continue;
        };
        let query = variable["query"].as_str().and_then(|query| query.strip_prefix("label_values("));
        let query = query.and_then(|query| query.strip_suffix(')')?.rsplit_once(", "));
        let (expression, label) = query.with_context(|| format!("variable {name} is no label_values()"))?;
        let labels = vec![label.to_owned()];
        queries.push(Query { place: format!("variable {name}"), expression: expression.to_owned(), labels });
    }
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().context("a panel has no title")?;
        for target in list(&panel["targets"]) {
            let expression =
                target["expr"].as_str().with_context(|| format!("{title} has no query"))?.to_owned();
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let labels =
                legend.split("{{").skip(1).filter_map(|label| Some(label.split_once("}}")?.0.to_owned()));
            queries.push(Query { place: title.to_owned(), expression, labels: labels.collect() });
        }
    }
    ensure!(queries.len() > 30, "found {} queries", queries.len());
    Ok(queries)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A Prometheus that scrapes roles. The guard of the roles ends it.
struct Prometheus {
    promtool: PathBuf,
    address: String,
}

impl Prometheus {
    fn start(programs: &Path, out: &Path, roles: &Roles, alerts: &Path) -> Result<Self> {
        let [port] = free_ports()?;
        let address = format!("127.0.0.1:{port}");
        let job = |name: &str, targets: &[&str]| json!({"job_name": name, "static_configs": [{"targets": targets}]});
        let targets: Vec<&str> = roles.targets().collect();
        // JSON is YAML, too.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [alerts],
            "scrape_configs": [job("ecom", &targets), job("prometheus", &[&address])],
        });
        let file = out.join("prometheus.yml");
        fs::write(&file, config.to_string())
            .with_context(|| format!("could not write {}", file.display()))?;
        let mut command = Command::new(programs.join("prometheus"));
        command.arg("--config.file").arg(file).arg("--storage.tsdb.path").arg(out.join("tsdb"));
        command.arg(format!("--web.listen-address={address}"));
        roles.spawn(&mut command, "prometheus")?;
        Ok(Self { promtool: programs.join("promtool"), address: format!("http://{address}") })
    }

    /// Waits until every role has been scraped twice.
    fn wait_for(&self, roles: &Roles) -> Result<()> {
        let expected = roles.targets().count();
        let scraped = || {
            let answer = self.ask(r#"sum_over_time(up{job="ecom"}[1m]) >= 2"#);
            answer.is_ok_and(|answer| answer.len() == expected)
        };
        ensure!(wait_until(LIMIT, scraped), "Prometheus did not scrape all {expected} roles, see {OUT}");
        Ok(())
    }

    /// Returns whether every rule could be evaluated, and whether only the watchdog fires.
    fn has_evaluated_alerts(&self) -> Result<bool> {
        let failed = self.ask("prometheus_rule_evaluation_failures_total > 0")?;
        for group in &failed {
            println!(
                "rules could not be evaluated: {}, see {OUT}/prometheus.log",
                group["metric"]["rule_group"]
            );
        }
        let firing = self.ask(r#"ALERTS{alertstate="firing"}"#)?;
        let names: Vec<&str> =
            firing.iter().filter_map(|alert| alert["metric"]["alertname"].as_str()).collect();
        println!("firing: {}", names.join(", "));
        Ok(failed.is_empty() && names == [WATCHDOG])
    }

    /// Returns the samples that answer an expression.
    fn ask(&self, expression: &str) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.promtool);
        command.args(["query", "instant", "--format", "json", &self.address, expression]);
        let output = command.stdin(Stdio::null()).output().context("could not start promtool")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "refused: {}", error.trim());
        serde_json::from_slice(&output.stdout).context("the answer is not JSON")
    }

    /// Returns what is wrong with the answer to a query, if anything is.
    fn fault_of(&self, query: &Query) -> Option<String> {
        let expression = query.expression.replace("$__rate_interval", "10s");
        let answer = self.ask(&expression.replace("$job", ".*").replace("$role", ".*"));
        answer.map_or_else(|error| Some(format!("{error:#}")), |samples| fault_in(&samples, query))
    }
}

/// Returns what is wrong with these samples.
fn fault_in(samples: &[Value], query: &Query) -> Option<String> {
    if FOREIGN.iter().any(|metric| query.expression.contains(metric)) {
        return None;
    }
    let number = |sample: &&Value| sample["value"][1].as_str().is_some_and(|value| value != "NaN");
    let Some(sample) = samples.iter().find(number) else { return Some("no answer".to_owned()) };
    let missing = query.labels.iter().find(|label| !sample["metric"][label].is_string())?;
    Some(format!("the answer has no label {missing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(expression: &str, labels: &[&str]) -> Query {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Query { place: "here".to_owned(), expression: expression.to_owned(), labels }
    }

    #[test]
    fn an_answer_has_a_number_and_the_labels_of_its_legend() {
        let samples = |value: &str| vec![json!({"metric": {"role": "r"}, "value": [1, value]})];
        let fault = |samples: &[Value], labels: &[&str]| fault_in(samples, &query("x", labels));
        assert_eq!(fault(&samples("0"), &["role"]), None);
        assert_eq!(fault(&[samples("NaN"), samples("1")].concat(), &[]), None);
        assert!(fault(&samples("0"), &["topic"]).is_some());
        assert!(fault(&samples("NaN"), &["role"]).is_some());
        assert!(fault(&[], &[]).is_some());
        assert_eq!(fault_in(&[], &query("max(stackdriver_x)", &[])), None);
    }
}
