//! The alerts and the scrape configuration, checked and tested by promtool.

use super::Place;
use super::tools::passes;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const FOLDER: &str = "deploy/prometheus";
pub(super) const ALERTS: &str = "deploy/prometheus/alerts.yml";
/// The alert that is never silent: a dead man's switch.
pub(super) const WATCHDOG: &str = "Watchdog";

/// Checks the syntax of alerts and scrape configuration, runs the tests of the alerts, and checks that each has its cases.
pub(super) fn check(place: &Place<'_>) -> Result<bool> {
    let promtool = programs(place)?.join("promtool");
    let run = |arguments: &[&str]| {
        passes(Command::new(&promtool).args(arguments).current_dir(place.root.join(FOLDER)))
    };
    let is_valid = run(&["check", "rules", "alerts.yml"])? & run(&["check", "config", "prometheus.yml"])?;
    let are_right = run(&["test", "rules", "alerts_test.yml"])?;
    let read = |path: &str| {
        fs::read_to_string(place.root.join(path)).with_context(|| format!("could not read {path}"))
    };
    let missing = missing_cases(&read(ALERTS)?, &read("deploy/prometheus/alerts_test.yml")?);
    for line in &missing {
        println!("{line}");
    }
    Ok(is_valid && are_right && missing.is_empty())
}

/// Returns the folder of `prometheus` and `promtool`.
pub(super) fn programs(place: &Place<'_>) -> Result<PathBuf> {
    Ok(place.debian("prometheus", &["prometheus"])?.join("usr/bin"))
}

/// Returns a line for each alert that no test has fire, or none has stay silent.
fn missing_cases(alerts: &str, tests: &str) -> Vec<String> {
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names
        .flat_map(|name| {
            let cases: Vec<bool> = cases(tests, name).collect();
            let fires = cases.iter().any(|is_silent| !is_silent);
            let is_silent = name == WATCHDOG || cases.contains(&true);
            let missing = [(fires, "fires"), (is_silent, "stays silent")];
            missing
                .into_iter()
                .filter(|(is_tested, _)| !is_tested)
                .map(move |(_, what)| format!("alerts_test.yml has no case in which {name} {what}"))
        })
        .collect()
}

/// Returns, for each time at which a test asks for this alert, whether it expects silence.
fn cases<'t>(tests: &'t str, name: &'t str) -> impl Iterator<Item = bool> + 't {
    tests.split("eval_time: ").skip(1).filter_map(move |case| {
        let (_, case) = case.split_once("alertname: ")?;
        let (asked, expected) = case.split_once("exp_alerts:")?;
        (asked.trim().trim_end_matches(',') == name).then(|| expected.trim_start().starts_with("[]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_needs_a_case_in_which_it_fires_and_one_in_which_it_stays_silent() {
        let alerts = "- alert: A\n  expr: up\n- alert: AB\n- alert: Watchdog\n";
        let silent = |name: &str| format!("- {{ eval_time: 1m, alertname: {name}, exp_alerts: [] }}\n");
        let fires = |name: &str| {
            format!("- eval_time: 1m\n  alertname: {name}\n  exp_alerts:\n    - exp_labels: {{ job: x }}\n")
        };
        let watchdog = fires("Watchdog");
        let both = silent("A") + &fires("AB") + &fires("A") + &silent("AB") + &watchdog;
        assert!(missing_cases(alerts, &both).is_empty());
        let half = silent("A") + &fires("AB") + &watchdog;
        let no_case = |what: &str| format!("alerts_test.yml has no case in which {what}");
        assert_eq!(missing_cases(alerts, &half), [no_case("A fires"), no_case("AB stays silent")]);
        assert_eq!(missing_cases("- alert: Watchdog", ""), [no_case("Watchdog fires")]);
    }
}
