//! Faults of single requests to S3: counted over the whole server, whatever the operation.

use futures_util::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::{Request, Response};
use s3s::dto::StreamingBlob;
use s3s::service::S3Service;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestFault {
    /// The connection ends before anything is done.
    Reset,
    /// S3 does what was asked, and the connection ends before the answer.
    Lost,
    /// 503 `SlowDown`, and nothing is done.
    SlowDown,
    /// Half of the answer's body, then the connection ends. Without a body: the connection ends.
    Half,
    /// Half of the answer's body, a pause of a second, then the rest.
    Slow,
    /// `Reset` for this request and each one after it.
    ResetFromNow,
    /// `SlowDown` for this request and each one after it.
    SlowDownFromNow,
}

/// The count of requests, and which one fails.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    count: usize,
    fault: Option<(usize, RequestFault)>,
    was_hit: bool,
}

impl Requests {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.state().count
    }

    pub(super) fn was_hit(&self) -> bool {
        self.state().was_hit
    }

    /// Begins to count anew.
    pub(super) fn set_fault(&self, fault: Option<(usize, RequestFault)>) {
        *self.state() = State { fault, ..State::default() };
    }

    fn next(&self) -> Option<RequestFault> {
        let mut state = self.state();
        state.count += 1;
        let (at, fault) = state.fault?;
        let goes_on = matches!(fault, RequestFault::ResetFromNow | RequestFault::SlowDownFromNow);
        let fails = state.count == at || goes_on && state.count > at;
        state.was_hit |= fails;
        fails.then_some(fault)
    }

    /// Answers a request, or fails as it was told to. An error ends the connection.
    pub(super) async fn answer(
        self,
        service: S3Service,
        request: Request<Incoming>,
    ) -> Result<Response<s3s::Body>, Box<dyn Error + Send + Sync>> {
        let fault = self.next();
        if matches!(fault, Some(RequestFault::Reset | RequestFault::ResetFromNow)) {
            return Err("reset by the test".into());
        }
        if matches!(fault, Some(RequestFault::SlowDown | RequestFault::SlowDownFromNow)) {
            let body =
                "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            return Ok(Response::builder().status(503).body(s3s::Body::from(body.to_owned()))?);
        }
        let response = service.call(request.map(s3s::Body::from)).await?;
        match fault {
            Some(RequestFault::Lost) => Err("lost by the test".into()),
            Some(RequestFault::Half) => cut_in_half(response, None).await,
            Some(RequestFault::Slow) => cut_in_half(response, Some(Duration::from_secs(1))).await,
            _ => Ok(response),
        }
    }
}

/// The answer with half of its body, then with the rest after a pause, or with nothing.
async fn cut_in_half(
    response: Response<s3s::Body>,
    pause: Option<Duration>,
) -> Result<Response<s3s::Body>, Box<dyn Error + Send + Sync>> {
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    if bytes.is_empty() {
        return match pause {
            Some(_) => Ok(Response::from_parts(parts, s3s::Body::empty())),
            None => Err("lost by the test".into()),
        };
    }
    let rest = bytes.split_off(bytes.len() / 2);
    let rest = stream::once(async move {
        match pause {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(rest.into())
            }
            None => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        }
    });
    let halves = stream::iter([Ok(bytes::Bytes::from(bytes))]).chain(rest);
    Ok(Response::from_parts(parts, StreamingBlob::wrap(Box::pin(halves)).into()))
}
