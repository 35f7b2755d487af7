//! `deploy/prometheus/alerts.yml`, checked against the registry, the runbook and the command lines.

use std::collections::{BTreeMap, BTreeSet};

use super::{Exported, exported, file};
use crate::processes::program::{PROGRAMS, TestDir};

/// Gauges of which all handlers export the same values.
const DEAD_LETTER_GAUGES: [&str; 3] =
    ["ecom_dead_letters", "ecom_dead_letter_oldest_waiting_age_seconds", "ecom_heartbeat_age_seconds"];

/// The alerts that read no metric of ours: the one that fires always, and the one of Pub/Sub's backlog.
const FOREIGN: [&str; 2] = ["Watchdog", "EcomBacklogOld"];
/// The beginning of each `runbook_url`, before an operator replaces it.
const RUNBOOK: &str = "https://github.com/example/ecom/blob/main/docs/runbook.md";

/// An alert of the file: its fields by name, with the expression on one line.
#[derive(Default, Debug)]
struct Alert {
    name: String,
    fields: BTreeMap<String, String>,
}

/// Parses the alerts, in the subset of YAML that the file uses.
fn alerts() -> Vec<Alert> {
    let text = file("deploy/prometheus/alerts.yml");
    let mut alerts: Vec<Alert> = Vec::new();
    let mut block = false;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
            block = false;
        } else if let Some(alert) = alerts.last_mut() {
            block &= indent >= 10;
            if block {
                let expression = alert.fields.get_mut("expr").unwrap();
                expression.push_str(line);
                expression.push(' ');
                continue;
            }
            if let Some((field, value)) = line.split_once(": ") {
                block = field == "expr";
                let value = if block { "" } else { value.trim_matches('"') };
                alert.fields.insert(field.to_owned(), value.to_owned());
            }
        }
    }
    alerts
}

/// A metric in an expression, with the text before it and its label matchers.
struct MetricUse<'e> {
    before: &'e str,
    name: &'e str,
    matchers: Vec<(&'e str, &'e str, &'e str)>,
}

/// Returns the metrics of an expression.
fn uses(expression: &str) -> Vec<MetricUse<'_>> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("ecom_") {
        let rest = &expression[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let inside = rest[end..].strip_prefix('{').map_or("", |rest| rest.split('}').next().unwrap());
        let matcher = |matcher: &'_ str| {
            let operator = ["=~", "!=", "="].into_iter().find(|operator| matcher.contains(operator)).unwrap();
            let at = matcher.find(operator).unwrap();
            (at, operator.len())
        };
        let matchers = inside
            .split(',')
            .filter(|text| !text.is_empty())
            .map(|text| {
                let (at, length) = matcher(text);
                (&text[..at], &text[at..at + length], text[at + length..].trim_matches('"'))
            })
            .collect();
        found.push(MetricUse { before: expression[..at].trim_end(), name: &rest[..end], matchers });
    }
    found
}

/// Returns the family that a sample belongs to.
fn family<'f>(families: &'f BTreeMap<String, Exported>, sample: &str) -> Option<&'f Exported> {
    families.values().find(|family| family.samples.contains(sample))
}

#[test]
fn every_metric_of_an_alert_is_exported_with_its_labels() {
    let families = exported();
    let alerts = alerts();
    assert!(alerts.len() >= 20, "{alerts:?}");
    for Alert { name: alert, fields } in &alerts {
        let uses = uses(&fields["expr"]);
        assert_eq!(uses.is_empty(), FOREIGN.contains(&alert.as_str()), "{alert}");
        for MetricUse { name, matchers, .. } in uses {
            let found = family(&families, name).unwrap_or_else(|| panic!("{alert}: {name} is not exported"));
            for (label, _, values) in matchers {
                let known =
                    &found.labels.get(label).unwrap_or_else(|| panic!("{alert}: {name} has no {label}"));
                for value in values.split('|') {
                    assert!(known.contains(value), "{alert}: {label} of {name} is never {value}");
                }
            }
        }
    }
}

#[test]
fn gauges_of_the_dead_letter_store_are_never_summed() {
    let mut used = BTreeSet::new();
    for Alert { name: alert, fields } in alerts() {
        let expression = fields["expr"].clone();
        for MetricUse { before, name, .. } in uses(&expression) {
            if DEAD_LETTER_GAUGES.contains(&name) {
                let max = before.strip_suffix('(').map(str::trim_end).is_some_and(|before| {
                    before.ends_with("absent")
                        || before
                            .strip_suffix(')')
                            .and_then(|before| before.rsplit_once('('))
                            .is_some_and(|(by, labels)| by.ends_with("max by ") && labels.starts_with("job"))
                });
                assert!(max, "{alert} reads {name} without max by (job, …): {expression}");
                used.insert(name.to_owned());
            }
        }
    }
    assert_eq!(used, DEAD_LETTER_GAUGES.map(str::to_owned).into());
}

#[test]
fn the_backlog_of_every_subscription_is_watched_but_that_of_the_notifier() {
    let config = file("config/default.toml");
    let quoted =
        config.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('"').nth(1));
    let mut expected: BTreeSet<&str> = quoted.filter(|value| value.ends_with("-sub")).collect();
    assert_eq!(expected.len(), 5, "{expected:?}");
    assert!(expected.remove("notices_data-sub"));
    let alerts = alerts();
    let expression = &alerts.iter().find(|alert| alert.name == "EcomBacklogOld").unwrap().fields["expr"];
    let watched: Vec<&str> = expression.split("subscription_id=~\"").skip(1).collect();
    assert_eq!(watched.len(), 2, "{expression}");
    for names in watched {
        let names = names.split('"').next().unwrap().split('|');
        assert_eq!(names.collect::<BTreeSet<_>>(), expected);
    }
}

#[test]
fn every_alert_is_a_section_of_the_runbook_and_names_its_first_command() {
    let runbook = file("docs/runbook.md");
    let sections: BTreeMap<&str, &str> =
        runbook.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let mut expected = BTreeSet::new();
    for Alert { name, fields } in alerts() {
        let severities: &[&str] = if name == "Watchdog" { &["none"] } else { &["page", "ticket"] };
        assert!(severities.contains(&fields["severity"].as_str()), "{name}: {fields:?}");
        assert!(!fields["summary"].is_empty(), "{name}");
        assert_eq!(fields["runbook_url"], format!("{RUNBOOK}#{}", name.to_lowercase()), "{name}");
        let section =
            sections.get(name.as_str()).unwrap_or_else(|| panic!("the runbook has no section {name}"));
        assert!(section.contains(&format!("`{}`", fields["command"])), "{name}: {}", fields["command"]);
        expected.insert(name);
    }
    let written: BTreeSet<String> = sections
        .keys()
        .filter(|heading| heading.starts_with("Ecom") || **heading == "Watchdog")
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(written, expected, "sections and alerts differ");
}

#[tokio::test]
async fn the_first_command_of_every_alert_is_accepted_by_its_binary() {
    let dir = TestDir::new();
    for Alert { name: alert, fields } in alerts() {
        let command = fields["command"].replace("-c config/gcp.toml -c my.toml", "--print-config");
        let mut words = command.split(' ');
        let program = words.next().unwrap();
        let (program, _) = PROGRAMS.iter().find(|(known, _)| *known == program).unwrap();
        let ended = dir.run(program, &words.collect::<Vec<_>>()).await;
        assert_eq!(ended.code, Some(0), "{alert}: {command}: {}", ended.stderr);
    }
}
