//! Sending spans: a bounded queue, and a thread of its own that sends what is in it. What does not fit, and what the
//! collector does not take, is dropped, counted and warned about once a minute; no work waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use ecom_clock::LogThrottle;

/// The most spans that wait to be sent.
const QUEUE: usize = 4_096;
/// The most spans of a request.
const BATCH: usize = 512;
/// The longest time that a span waits for others.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time limit of a request, retries included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Takes spans that have ended to the thread that sends them.
#[derive(Debug)]
pub(super) struct QueueProcessor {
    queue: mpsc::Sender<SpanData>,
    dropped: Arc<AtomicU64>,
    end: std::sync::Mutex<Option<End>>,
}

/// Ends the thread.
#[derive(Debug)]
struct End {
    ask: oneshot::Sender<()>,
    /// Told once every span is sent or given up.
    ended: std_mpsc::Receiver<()>,
}

impl QueueProcessor {
    /// Starts the thread. `connect` is called on it.
    pub(super) fn start<E: SpanExporter + 'static>(
        connect: impl FnOnce() -> Result<E, String> + Send + 'static,
        endpoint: String,
        resource: &Resource,
    ) -> Result<Self, String> {
        let (queue, spans) = mpsc::channel(QUEUE);
        let (ask, asked) = oneshot::channel();
        let (tell_started, started) = std_mpsc::channel();
        let (tell_ended, ended) = std_mpsc::channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let (resource, dropped_by_queue) = (resource.clone(), Arc::clone(&dropped));
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return tell_started.send(Err(error.to_string())).unwrap_or(()),
            };
            runtime.block_on(async {
                let mut exporter = match connect() {
                    Ok(exporter) => exporter,
                    Err(error) => return tell_started.send(Err(error)).unwrap_or(()),
                };
                exporter.set_resource(&resource);
                tell_started.send(Ok(())).ok();
                let losses = Losses::new(endpoint, dropped_by_queue);
                send_all(exporter, spans, asked, losses).await;
                tell_ended.send(()).ok();
            });
        };
        let thread = std::thread::Builder::new().name("traces".to_owned());
        thread.spawn(run).map_err(|error| format!("could not start a thread: {error}"))?;
        started.recv().map_err(|error| error.to_string())??;
        Ok(Self { queue, dropped, end: std::sync::Mutex::new(Some(End { ask, ended })) })
    }
}

impl SpanProcessor for QueueProcessor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let end = self.end.lock().ok().and_then(|mut end| end.take());
        let Some(End { ask, ended }) = end else { return Err(OTelSdkError::AlreadyShutdown) };
        ask.send(()).ok();
        ended.recv_timeout(timeout).map_err(|_| OTelSdkError::Timeout(timeout))
    }
}

/// Sends spans until asked to end, and then those that are left.
async fn send_all(
    exporter: impl SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    mut asked: oneshot::Receiver<()>,
    mut losses: Losses,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let room = BATCH - batch.len();
        let is_due = tokio::select! {
            biased;
            _ = &mut asked => break,
            _ = ticks.tick() => true,
            received = spans.recv_many(&mut batch, room) => match received {
                0 => break,
                received => received == room,
            },
        };
        if is_due {
            losses.send(&exporter, &mut batch).await;
        }
    }
    spans.close();
    while !batch.is_empty() || spans.recv_many(&mut batch, BATCH).await > 0 {
        losses.send(&exporter, &mut batch).await;
    }
    losses.warn(Instant::now());
}

/// The spans that are lost, and the warnings about them.
struct Losses {
    endpoint: String,
    /// Those that did not fit into the queue.
    dropped: Arc<AtomicU64>,
    /// Those that the collector did not take.
    refused: u64,
    error: Option<String>,
    warnings: LogThrottle,
}

impl Losses {
    fn new(endpoint: String, dropped: Arc<AtomicU64>) -> Self {
        Self { endpoint, dropped, refused: 0, error: None, warnings: LogThrottle::every(WARN_EVERY) }
    }

    /// Sends the spans, and forgets them whatever comes of it.
    async fn send(&mut self, exporter: &impl SpanExporter, batch: &mut Vec<SpanData>) {
        let spans = std::mem::replace(batch, Vec::with_capacity(BATCH));
        let count = spans.len() as u64;
        if count > 0 {
            let sent = tokio::time::timeout(REQUEST_TIMEOUT, exporter.export(spans)).await;
            if let Some(error) = match sent {
                Ok(sent) => sent.err().map(|error| error.to_string()),
                Err(_) => Some(format!("it did not answer within {REQUEST_TIMEOUT:?}")),
            } {
                self.refused += count;
                self.error = Some(error);
            }
        }
        self.warn(Instant::now());
    }

    /// Warns of the spans lost since the last warning, if there are any and it is time.
    fn warn(&mut self, now: Instant) {
        if self.refused + self.dropped.load(Ordering::Relaxed) == 0 || self.warnings.admit(now).is_none() {
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let refused = std::mem::take(&mut self.refused);
        let error = self.error.take().map(|error| format!(": {error}")).unwrap_or_default();
        tracing::warn!(
            refused,
            dropped,
            "{} spans are lost: {refused} that {} did not take{error}, {dropped} that came faster than they were sent",
            refused + dropped,
            self.endpoint,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// A collector that takes nothing, or keeps the names of what it takes.
    #[derive(Clone, Debug)]
    enum Collector {
        Silent,
        Refuses,
        Keeps(Arc<Mutex<Vec<usize>>>),
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            match self {
                Self::Silent => std::future::pending().await,
                Self::Refuses => Err(OTelSdkError::InternalFailure("it is full".to_owned())),
                Self::Keeps(batches) => {
                    batches.lock().unwrap().push(batch.len());
                    Ok(())
                }
            }
        }
    }

    /// Ends so many spans; returns the provider and the count of those that did not fit.
    fn spans(collector: Collector, count: usize) -> (SdkTracerProvider, Arc<AtomicU64>) {
        let resource = Resource::builder_empty().build();
        let processor = QueueProcessor::start(|| Ok(collector), "http://here".to_owned(), &resource).unwrap();
        let dropped = Arc::clone(&processor.dropped);
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let tracer = provider.tracer("test");
        for _ in 0..count {
            drop(tracer.start("span"));
        }
        (provider, dropped)
    }

    #[test]
    fn every_span_is_sent_in_batches_before_the_end() {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let (provider, _) = spans(Collector::Keeps(Arc::clone(&batches)), 1_300);
        provider.shutdown_with_timeout(Duration::from_secs(30)).unwrap();
        let batches = batches.lock().unwrap();
        assert_eq!(batches.iter().sum::<usize>(), 1_300, "{batches:?}");
        assert!(batches.iter().all(|size| *size <= BATCH), "{batches:?}");
    }

    #[test]
    fn a_collector_that_does_not_answer_holds_up_neither_the_work_nor_the_end() {
        let started = Instant::now();
        let (provider, dropped) = spans(Collector::Silent, 2 * QUEUE);
        // What is in the queue, in a batch and in a request is not dropped yet.
        let dropped = usize::try_from(dropped.load(Ordering::Relaxed)).unwrap();
        assert!((QUEUE - 2 * BATCH..=QUEUE).contains(&dropped), "{dropped}");
        let ended = provider.shutdown_with_timeout(Duration::from_millis(100));
        assert!(ended.is_err());
        assert!(started.elapsed() < REQUEST_TIMEOUT, "{:?}", started.elapsed());
    }

    #[test]
    fn lost_spans_are_counted_and_warned_about_once_a_minute() {
        let dropped = Arc::new(AtomicU64::new(3));
        let mut losses = Losses::new("http://here".to_owned(), Arc::clone(&dropped));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut batch = Vec::new();
        runtime.block_on(losses.send(&Collector::Refuses, &mut batch));
        assert_eq!(dropped.load(Ordering::Relaxed), 0, "warned about");
        dropped.store(2, Ordering::Relaxed);
        losses.warn(Instant::now());
        assert_eq!(dropped.load(Ordering::Relaxed), 2, "kept for the next warning");
        losses.warn(Instant::now() + WARN_EVERY);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }
}
