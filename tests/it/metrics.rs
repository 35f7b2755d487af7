//! The exported metrics, checked against the documentation and the alerts.

mod alerts;
mod documentation;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::reason::Reason;
use ecom_domain::role::{Role, RoleName};
use ecom_telemetry::metrics::{
    CallOutcome, DeadLetterCounts, DeadLetterGauges, DispositionLabel, Resolution, RoleMetrics, StatusClass,
    StoreOperation, Topic, registry,
};

/// An exported metric family.
#[derive(Default, Debug)]
pub struct Exported {
    kind: String,
    help: String,
    /// The names of its samples, and the values of each label.
    samples: BTreeSet<String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The roles of the shop, which the pipeline does not know.
const SHOP_ROLES: [&str; 3] = ["api_service", "payment_processor", "notifier"];

/// Exports every family with all its series; the keys are the documented names.
fn exported() -> BTreeMap<String, Exported> {
    let took = Duration::from_millis(3);
    let names: Vec<RoleName> =
        Role::ALL.map(RoleName::from).into_iter().chain(SHOP_ROLES.map(RoleName::new)).collect();
    let roles: Vec<_> = names.iter().map(|role| Arc::new(RoleMetrics::new(*role))).collect();
    let gauges = Arc::new(DeadLetterGauges::new(|| 60_000_000));
    let registry = registry(roles.clone(), Some(Arc::clone(&gauges)));
    for role in &roles {
        for operation in [
            StoreOperation::RecordOrder,
            StoreOperation::PaymentSlot,
            StoreOperation::RecordPayment,
            StoreOperation::RecordSuperseded,
            StoreOperation::Fact,
            StoreOperation::RecordDeadLetter,
            StoreOperation::DeadLetter,
            StoreOperation::DeadLettersOf,
            StoreOperation::ApplyUpdate,
            StoreOperation::Remove,
        ] {
            role.store(operation).unwrap().observe(CallOutcome::Ok, took);
        }
        for topic in [Topic::Orders, Topic::Payments, Topic::DeadLetters] {
            role.publish(topic).unwrap().observe(CallOutcome::Unavailable, took);
        }
        role.send().unwrap().observe(CallOutcome::Refused, took);
        role.name_operations(ecom_shop_api::operations());
        for operation in ecom_shop_api::operations() {
            role.requests().unwrap().observe(&operation, StatusClass::of(201), took);
        }
        role.finish(DispositionLabel::Applied, took);
        role.dead_lettered(Reason::Invalid);
        role.resolved(Resolution::Parked, took);
    }
    gauges.show(DeadLetterCounts::default());
    let heartbeat = |role: &RoleName| Heartbeat {
        role: role.as_str().to_owned(),
        host: "here".to_owned(),
        version: "0".to_owned(),
        seen_at: 1_000_000,
        newest_event_at: None,
    };
    gauges.show_heartbeats(&names.iter().map(heartbeat).collect::<Vec<_>>());
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    read(&text)
}

#[test]
fn calls_are_timed_only_while_the_metrics_are_exported() {
    let role = Arc::new(RoleMetrics::new(Role::OrderConsumer));
    assert!(role.store(StoreOperation::RecordOrder).is_none() && role.publish(Topic::DeadLetters).is_none());
    let _registry = registry(vec![Arc::clone(&role)], None);
    assert!(role.store(StoreOperation::RecordOrder).is_some() && role.publish(Topic::DeadLetters).is_some());
}

/// Parses OpenMetrics text.
fn read(text: &str) -> BTreeMap<String, Exported> {
    let mut families: BTreeMap<String, Exported> = BTreeMap::new();
    let mut current = String::new();
    let mut help = String::new();
    for line in text.lines().filter(|line| !line.starts_with("# UNIT") && *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').unwrap().1.trim_end_matches('.').to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            current = format!("{name}{suffix}");
            let family = Exported { kind: kind.to_owned(), help: help.clone(), ..Exported::default() };
            assert!(families.insert(current.clone(), family).is_none(), "{current} is exported twice");
        } else {
            let (series, _value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let family = families.get_mut(&current).unwrap();
            family.samples.insert(name.to_owned());
            for label in labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()) {
                let (label, value) = label.split_once("=\"").unwrap();
                let values = family.labels.entry(label.to_owned()).or_default();
                values.insert(value.trim_end_matches('"').to_owned());
            }
        }
    }
    families
}

/// Reads a file of the repository.
pub fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_family_is_exported_once_and_its_samples_have_its_name() {
    let families = exported();
    assert_eq!(families.len(), 18, "{families:?}");
    for (name, family) in &families {
        let stem = name.trim_end_matches("_total").trim_end_matches("_info");
        assert!(!family.samples.is_empty(), "{name} has no series");
        assert!(family.samples.iter().all(|sample| sample.starts_with(stem)), "{name}: {family:?}");
    }
    let age = &families["ecom_heartbeat_age_seconds"];
    assert_eq!(age.labels["role"].len(), Role::ALL.len() + SHOP_ROLES.len());
}
