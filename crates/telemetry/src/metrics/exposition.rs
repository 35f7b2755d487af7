//! OpenMetrics text: each family once, with the series of every role.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::durations::Durations;
use super::labels::{CallOutcome, DispositionLabel, Resolution, StatusClass, StoreOperation, Topic};
use super::role::{CallDurations, RequestDurations, RoleMetrics};
use ecom_domain::reason::Reason;

/// The type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MetricKind {
    /// Rises only; `_total` is added to its name.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A gauge in seconds; `_seconds` is added to its name.
    GaugeSeconds,
    /// A histogram of seconds; `_seconds` is added to its name.
    Seconds,
    /// 1 with labels; `_info` is added to its name.
    Info,
}

/// A family: its name without prefix and suffix, its type and its help.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) help: &'static str,
}

/// A label and its value.
pub(super) type Label<'r> = (&'static str, &'r str);

/// The labels of a histogram beside the role, and what it has counted.
type Series<'r> = (Vec<Label<'r>>, &'r Durations);

impl Family {
    pub(super) const fn new(name: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self { name, kind, help }
    }

    /// Writes the family's descriptor; its series follow.
    pub(super) fn begin<'e>(
        &self,
        encoder: &'e mut DescriptorEncoder<'_>,
    ) -> Result<MetricEncoder<'e>, fmt::Error> {
        let (kind, unit) = match self.kind {
            MetricKind::Counter => (MetricType::Counter, None),
            MetricKind::Gauge => (MetricType::Gauge, None),
            MetricKind::GaugeSeconds => (MetricType::Gauge, Some(&Unit::Seconds)),
            MetricKind::Seconds => (MetricType::Histogram, Some(&Unit::Seconds)),
            MetricKind::Info => (MetricType::Info, None),
        };
        encoder.encode_descriptor(self.name, self.help, unit, kind)
    }
}

/// The roles of one process.
#[derive(Debug)]
pub(super) struct Roles(pub(super) Vec<Arc<RoleMetrics>>);

impl Collector for Roles {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.counter(encoder, &super::RECEIVED, |role| role.received.get())?;
        self.counter(encoder, &super::REDELIVERED, |role| role.redelivered.get())?;
        self.counter(encoder, &super::BUFFERED, |role| role.buffered.get())?;
        self.counter(encoder, &super::UNUSABLE_EVENT_TIMES, |role| role.unusable_event_times.get())?;
        self.counters(encoder, &super::PUBLISHED_DEAD_LETTERS, |role| {
            let counted = |reason: Reason| (Some(("reason", reason.as_str())), role.dead_letters(reason));
            Reason::ALL.into_iter().map(counted).collect()
        })?;
        self.counters(encoder, &super::RESOLVED_DEAD_LETTERS, |role| {
            let resolved = Resolution::ALL.into_iter().zip(&role.resolved);
            resolved.map(|(how, ages)| (Some(("resolution", how.as_str())), ages.count())).collect()
        })?;
        self.gauge(encoder, &super::IN_FLIGHT, |role| role.in_flight.get())?;
        self.gauge(encoder, &super::IN_FLIGHT_LIMIT, |role| role.in_flight_limit.get())?;
        self.histograms(encoder, &super::MESSAGE, |role| {
            let deliveries = DispositionLabel::ALL.into_iter().zip(&role.deliveries);
            deliveries.map(|(label, took)| (vec![("disposition", label.as_str())], took)).collect()
        })?;
        self.histograms(encoder, &super::DEAD_LETTER_AGE, |role| {
            let resolved = Resolution::ALL.into_iter().zip(&role.resolved);
            resolved.map(|(how, ages)| (vec![("resolution", how.as_str())], ages)).collect()
        })?;
        self.histograms(encoder, &super::STORE, |role| {
            by_outcome(StoreOperation::ALL.map(|operation| ("operation", operation.as_str())), &role.store)
        })?;
        self.histograms(encoder, &super::PUBLISH, |role| {
            by_outcome(Topic::ALL.map(|topic| ("topic", topic.as_str())), &role.publish)
        })?;
        self.histograms(encoder, &super::SEND, |role| outcomes(None, &role.send))?;
        self.histograms(encoder, &super::HTTP_REQUEST, |role| {
            role.requests().map_or_else(Vec::new, by_operation)
        })
    }
}

/// The series of HTTP requests; operations that nobody has asked for are left out.
fn by_operation(RequestDurations(operations): &RequestDurations) -> Vec<Series<'_>> {
    let is_used = |classes: &[Durations]| classes.iter().any(|took| took.count() > 0);
    let used = operations.iter().filter(|(_, classes)| is_used(*classes));
    used.flat_map(|(operation, classes)| {
        StatusClass::ALL.into_iter().zip(classes).map(move |(class, took)| {
            (vec![("operation", operation.as_str()), ("status", class.as_str())], took)
        })
    })
    .collect()
}

/// The series of a role's calls by outcome; calls it never made are left out.
fn by_outcome<'r, const N: usize>(labels: [Label<'r>; N], calls: &'r [CallDurations; N]) -> Vec<Series<'r>> {
    labels.into_iter().zip(calls).flat_map(|(label, calls)| outcomes(Some(label), calls)).collect()
}

/// The series of one kind of a role's calls by outcome; none if it never made any.
fn outcomes<'r>(label: Option<Label<'r>>, CallDurations(calls): &'r CallDurations) -> Vec<Series<'r>> {
    if calls.iter().all(|took| took.count() == 0) {
        return Vec::new();
    }
    let labels = |outcome: CallOutcome| label.into_iter().chain([("outcome", outcome.as_str())]).collect();
    CallOutcome::ALL.into_iter().zip(calls).map(|(outcome, took)| (labels(outcome), took)).collect()
}

impl Roles {
    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family,
        count: impl Fn(&RoleMetrics) -> u64,
    ) -> fmt::Result {
        self.counters(encoder, family, |role| vec![(None, count(role))])
    }

    fn counters(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family,
        counts: impl Fn(&RoleMetrics) -> Vec<(Option<Label<'static>>, u64)>,
    ) -> fmt::Result {
        let mut family = family.begin(encoder)?;
        for role in &self.0 {
            for (label, count) in counts(role) {
                let labels: Vec<Label<'_>> =
                    [("role", role.role.as_str())].into_iter().chain(label).collect();
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family,
        value: impl Fn(&RoleMetrics) -> i64,
    ) -> fmt::Result {
        let mut family = family.begin(encoder)?;
        for role in &self.0 {
            family.encode_family(&[("role", role.role.as_str())])?.encode_gauge(&value(role))?;
        }
        Ok(())
    }

    fn histograms(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family,
        series: impl Fn(&RoleMetrics) -> Vec<Series<'_>>,
    ) -> fmt::Result {
        let mut family = family.begin(encoder)?;
        for role in &self.0 {
            for (labels, durations) in series(role) {
                let labels: Vec<Label<'_>> =
                    [("role", role.role.as_str())].into_iter().chain(labels).collect();
                let buckets = durations.buckets();
                let count = buckets.iter().map(|(_, count)| count).sum();
                family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    durations.seconds(),
                    count,
                    &buckets,
                    None,
                )?;
            }
        }
        Ok(())
    }
}
