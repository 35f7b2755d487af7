//! Traces of a build without them: every span is empty, and every call does nothing.

use std::fmt::Display;
use std::time::Duration;

use super::{CurrentSpan, PublishedMessage, ReceivedSpan, StartError, TraceSettings};
use crate::metrics::{CallOutcome, StoreOperation, Topic};
use ecom_domain::attributes::Attributes;

/// The sending of traces.
#[derive(Debug)]
pub struct Traces(());

impl Traces {
    /// Does nothing.
    pub fn finish(self, _: Duration) {}
}

/// Does nothing.
pub fn start(_: &TraceSettings) -> Result<Traces, StartError> {
    Ok(Traces(()))
}

/// Returns false.
#[inline]
pub const fn is_on() -> bool {
    false
}

/// A span, which is empty.
#[derive(Default, Debug)]
pub struct TraceSpan(());

impl TraceSpan {
    /// Does nothing.
    #[inline]
    pub fn set(&self, _: &'static str, _: impl Display) {}

    /// Does nothing.
    #[inline]
    pub fn set_number(&self, _: &'static str, _: i64) {}

    /// Does nothing.
    #[inline]
    pub fn fail(&self, _: &'static str) {}

    /// Returns the scope of the span.
    #[inline]
    pub fn scope(&self) -> TraceScope {
        TraceScope(())
    }
}

/// The scope of a span, which is empty.
#[derive(Clone, Default, Debug)]
pub struct TraceScope(());

impl TraceScope {
    /// Returns the future.
    #[inline]
    pub fn run<F: Future>(&self, future: F) -> F {
        future
    }
}

/// Returns an empty span.
#[inline]
pub fn published_event(_: Topic) -> (TraceSpan, Option<String>) {
    (TraceSpan(()), None)
}

/// Returns an empty span.
#[inline]
pub fn delivery(_: ReceivedSpan<'_>) -> TraceSpan {
    TraceSpan(())
}

/// Returns an empty span.
#[inline]
pub fn retry(_: Option<&str>, _: &'static str, _: &str) -> TraceSpan {
    TraceSpan(())
}

/// Returns an empty span.
#[inline]
pub fn request(_: &str, _: &str, _: Option<&str>) -> TraceSpan {
    TraceSpan(())
}

/// Returns nothing.
#[inline]
pub fn publish(_: Option<Topic>, _: &Attributes) -> Option<PublishedMessage> {
    None
}

/// Returns an empty scope.
#[inline]
pub fn group<'s>(_: impl Iterator<Item = &'s TraceSpan>) -> TraceScope {
    TraceScope(())
}

/// The spans of a call of the store, of which there are none.
#[derive(Debug)]
pub struct StoreCall(());

impl StoreCall {
    /// Does nothing.
    #[inline]
    pub fn end(self, _: CallOutcome) {}
}

/// Returns no spans.
#[inline]
pub fn store_call(_: Option<StoreOperation>, _: impl Fn(usize) -> bool) -> StoreCall {
    StoreCall(())
}

/// Returns nothing.
#[inline]
pub fn current() -> Option<CurrentSpan> {
    None
}
