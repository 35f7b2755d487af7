//! Streaming pull: the stream of deliveries to one client.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, once, unfold};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as proto;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::server::StreamingService;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::answers::injected;
use crate::broker::Shared;
use crate::command::{Effect, Point};
use crate::subscription::StreamLimits;

type Answers = BoxStream<'static, Result<proto::StreamingPullResponse, Status>>;

/// The service of this call.
pub(crate) struct StreamingPull(pub(crate) Arc<Shared>);

impl StreamingService<proto::StreamingPullRequest> for StreamingPull {
    type Response = proto::StreamingPullResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<proto::StreamingPullRequest>>) -> Self::Future {
        open(self.0.clone(), request.into_inner()).boxed()
    }
}

async fn open(
    shared: Arc<Shared>,
    mut requests: Streaming<proto::StreamingPullRequest>,
) -> Result<Response<Answers>, Status> {
    shared.streams_opened.fetch_add(1, Ordering::Relaxed);
    let first = requests.message().await?.ok_or_else(|| Status::invalid_argument("no request"))?;
    match shared.faults.strike(Point::OpenStream) {
        Some(Effect::Error(code)) => return Err(injected(code)),
        Some(Effect::AfterHeaders(Code::Ok)) => {
            return Ok(Response::new(futures_util::stream::empty().boxed()));
        }
        Some(Effect::AfterHeaders(code)) => {
            return Ok(Response::new(once(async move { Err(injected(code)) }).boxed()));
        }
        Some(Effect::Never) => return std::future::pending().await,
        Some(Effect::Late(time)) => tokio::time::sleep(time).await,
        Some(Effect::Lost(_) | Effect::Ignored | Effect::Twice) | None => {}
    }
    let limits = StreamLimits {
        messages: usize::try_from(first.max_outstanding_messages).unwrap_or(0),
        bytes: usize::try_from(first.max_outstanding_bytes).unwrap_or(0),
        ack_deadline: Duration::from_secs(u64::try_from(first.stream_ack_deadline_seconds).unwrap_or(0)),
    };
    if !(10..=600).contains(&limits.ack_deadline.as_secs()) {
        return Err(Status::invalid_argument("stream_ack_deadline_seconds must be 10 to 600"));
    }
    let stream = OpenStream { number: shared.next_stream(), subscription: first.subscription, shared };
    let end = stream.shared.end_streams.subscribe();
    stream.shared.change(|topics| {
        topics.subscription(&stream.subscription).map(|s| s.open_stream(stream.number, limits))
    })?;
    let half_closed = CancellationToken::new();
    // The client sends no more than pings, and the end of the stream.
    let ended = half_closed.clone().drop_guard();
    tokio::spawn(async move {
        while let Ok(Some(_)) = requests.message().await {}
        drop(ended);
    });
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(stream.run(sender, end, half_closed));
    let answers = unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Ok(Response::new(answers.boxed()))
}

/// A stream that delivers; the subscription forgets it when it is dropped.
struct OpenStream {
    number: u64,
    subscription: String,
    shared: Arc<Shared>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let Ok(subscription) = self.shared.topics().subscription(&self.subscription) {
            subscription.close_stream(self.number);
        }
    }
}

impl OpenStream {
    /// Delivers until the client closes the stream, or a command ends it.
    async fn run(
        self,
        sender: mpsc::Sender<Result<proto::StreamingPullResponse, Status>>,
        mut end: broadcast::Receiver<Code>,
        half_closed: CancellationToken,
    ) {
        let deliver = async {
            loop {
                let changed = self.shared.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                let received_messages = self.take();
                if received_messages.is_empty() {
                    changed.await;
                    continue;
                }
                let response = proto::StreamingPullResponse { received_messages, ..Default::default() };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        };
        let code = tokio::select! {
            biased;
            code = end.recv() => code.unwrap_or(Code::Unavailable),
            () = half_closed.cancelled() => Code::Ok,
            () = sender.closed() => return,
            () = deliver => return,
        };
        if code != Code::Ok {
            let _ = sender.send(Err(injected(code))).await;
        }
    }

    fn take(&self) -> Vec<proto::ReceivedMessage> {
        let copies = || match self.shared.faults.strike(Point::Deliver) {
            Some(Effect::Twice) => 2,
            _ => 1,
        };
        let mut topics = self.shared.topics();
        let subscription = topics.subscription(&self.subscription);
        subscription.map_or_else(|_| Vec::new(), |s| s.take(self.number, Instant::now(), copies))
    }
}
