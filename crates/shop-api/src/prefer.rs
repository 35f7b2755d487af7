//! The wait that a client prefers, as of RFC 7240: `Prefer: wait=SECONDS`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use tokio::time::Instant;
use utoipa::IntoParams;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// The longest wait, in seconds; a longer one is cut to it.
const LONGEST: u64 = 20;

/// The header of a request that may wait.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it documents the header, which is read by an extractor")]
pub(crate) struct PreferHeader {
    /// wait=SECONDS: how long to wait for the payment processor to decide on the order, at most 20. Anything else is
    /// ignored.
    #[param(rename = "Prefer", value_type = String, required = false, example = "wait=10")]
    prefer: Option<String>,
}

/// The wait that a client prefers, from the moment at which its request arrived.
pub(crate) struct Prefer {
    began: Instant,
    /// The seconds; `None` if the client says nothing about it.
    wait: Option<u64>,
}

impl Prefer {
    /// Returns the end of the wait, which takes this long unless the client prefers otherwise.
    pub(crate) fn deadline(&self, by_default: Duration) -> Instant {
        self.began + self.wait.map_or(by_default, Duration::from_secs)
    }

    /// Says in an answer what was preferred and done.
    pub(crate) fn applied(&self, mut answer: Response) -> Response {
        let applied = self.wait.and_then(|wait| HeaderValue::from_str(&format!("wait={wait}")).ok());
        answer.headers_mut().extend(applied.map(|applied| (PREFERENCE_APPLIED, applied)));
        answer
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        Ok(Self { began: Instant::now(), wait: values.flat_map(|value| value.split(',')).find_map(wait) })
    }
}

/// Returns the seconds of a preference; `None` if it is another one, or is malformed: those are ignored.
fn wait(preference: &str) -> Option<u64> {
    let (name, value) = preference.split(';').next()?.split_once('=')?;
    let seconds = value.trim().trim_matches('"').parse::<u64>().ok()?;
    name.trim().eq_ignore_ascii_case("wait").then_some(seconds.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[tokio::test]
    async fn the_first_wait_counts_and_everything_else_is_ignored() {
        for (values, expected) in [
            (&[][..], None),
            (&["wait=7"], Some(7)),
            (&["respond-async, Wait = \"7\"; x=y"], Some(7)),
            (&["handling=lenient", "wait=3", "wait=4"], Some(3)),
            (&["wait=21"], Some(20)),
            (&["wait=0"], Some(0)),
            (&["wait", "wait=", "wait=-1", "wait=1.5", "waiting=7", "\u{e4}"], None),
        ] {
            let request =
                values.iter().fold(Request::get("/"), |request, value| request.header("prefer", *value));
            let (mut parts, ()) = request.body(()).unwrap().into_parts();
            let Ok(prefer) = Prefer::from_request_parts(&mut parts, &()).await;
            assert_eq!(prefer.wait, expected, "{values:?}");
        }
    }
}
