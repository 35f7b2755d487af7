//! The calls that the clients of this project make: publishing and receiving over gRPC, the rest over JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as proto;
use hyper::body::Incoming;
use hyper::{Request as HttpRequest, Response as HttpResponse};
use prost::Message;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::admin;
use crate::answers::answer;
use crate::broker::Shared;
use crate::command::Point;
use crate::streaming_pull::StreamingPull;

/// More than any request has: 10 MB and its encoding.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// Answers one call.
pub(crate) async fn call(
    shared: Arc<Shared>,
    http: HttpRequest<Incoming>,
) -> Result<HttpResponse<Body>, Infallible> {
    let path = http.uri().path().to_owned();
    let Some(call) = path.strip_prefix("/google.pubsub.v1.") else {
        return Ok(admin::call(&shared, http).await);
    };
    Ok(match call {
        "Publisher/Publish" => unary(shared, http, Point::Publish, publish).await,
        "Subscriber/Acknowledge" => unary(shared, http, Point::Acknowledge, acknowledge).await,
        "Subscriber/ModifyAckDeadline" => {
            unary(shared, http, Point::ModifyAckDeadline, modify_ack_deadline).await
        }
        "Subscriber/StreamingPull" => grpc().streaming(StreamingPull(shared), http).await,
        _ => Status::unimplemented(format!("the test broker does not offer {call}")).into_http(),
    })
}

fn publish(shared: &Shared, request: proto::PublishRequest) -> Result<proto::PublishResponse, Status> {
    let message_ids = shared.change(|topics| topics.publish(&request.topic, request.messages))?;
    Ok(proto::PublishResponse { message_ids })
}

fn acknowledge(shared: &Shared, request: proto::AcknowledgeRequest) -> Result<(), Status> {
    shared.change(|topics| {
        topics.subscription(&request.subscription)?.acknowledge(&request.ack_ids);
        Ok(())
    })
}

fn modify_ack_deadline(shared: &Shared, request: proto::ModifyAckDeadlineRequest) -> Result<(), Status> {
    let deadline = Duration::from_secs(u64::try_from(request.ack_deadline_seconds).unwrap_or(0));
    shared.change(|topics| {
        let subscription = topics.subscription(&request.subscription)?;
        subscription.modify_ack_deadline(&request.ack_ids, deadline, Instant::now());
        Ok(())
    })
}

/// A call with one request and one answer.
struct Unary<Q, A> {
    shared: Arc<Shared>,
    point: Point,
    apply: fn(&Shared, Q) -> Result<A, Status>,
}

impl<Q: Send + 'static, A: Default + Send + 'static> UnaryService<Q> for Unary<Q, A> {
    type Response = A;
    type Future = BoxFuture<'static, Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (shared, point, apply) = (self.shared.clone(), self.point, self.apply);
        async move { answer(&shared.faults, point, || apply(&shared, request.into_inner())).await }.boxed()
    }
}

async fn unary<Q, A>(
    shared: Arc<Shared>,
    http: HttpRequest<Incoming>,
    point: Point,
    apply: fn(&Shared, Q) -> Result<A, Status>,
) -> HttpResponse<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    grpc().unary(Unary { shared, point, apply }, http).await
}

fn grpc<A, Q>() -> Grpc<ProstCodec<A, Q>>
where
    A: Message + 'static,
    Q: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_REQUEST_BYTES)
}
