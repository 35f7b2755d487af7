//! Answers calls, as the rules say.

use tonic::{Code, Response, Status};

use crate::command::{Effect, Point};
use crate::faults::Faults;

/// Applies a call and answers it, unless a rule for this point says otherwise.
pub(crate) async fn answer<T: Default>(
    faults: &Faults,
    point: Point,
    apply: impl FnOnce() -> Result<T, Status>,
) -> Result<Response<T>, Status> {
    let answer = match faults.strike(point) {
        None | Some(Effect::AfterHeaders(_) | Effect::Twice) => apply(),
        Some(Effect::Error(code)) => Err(injected(code)),
        Some(Effect::Lost(code)) => apply().and_then(|_| Err(injected(code))),
        Some(Effect::Ignored) => Ok(T::default()),
        Some(Effect::Never) => std::future::pending().await,
        Some(Effect::Late(time)) => {
            tokio::time::sleep(time).await;
            apply()
        }
    };
    answer.map(Response::new)
}

/// Returns the status of an injected fault.
pub(crate) fn injected(code: Code) -> Status {
    Status::new(code, "injected by the test broker")
}
