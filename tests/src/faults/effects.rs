//! Step Functions and EventBridge as the functions see them: everything is accepted and noted, once per name.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The endpoint of both services. It stops when it is dropped.
pub(super) struct Effects {
    pub(super) endpoint: String,
    noted: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Effects {
    /// `stopped`: parts of the ARNs of executions that were stopped.
    pub(super) async fn start(stopped: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let noted = Arc::<Mutex<BTreeSet<String>>>::default();
        let task = tokio::spawn({
            let noted = Arc::clone(&noted);
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    let noted = Arc::clone(&noted);
                    let answer = service_fn(move |request| answer(request, Arc::clone(&noted), stopped));
                    connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
                }
            }
        });
        Self { endpoint, noted, task }
    }

    /// What has been done outside, each once.
    pub(super) fn noted(&self) -> Vec<String> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    noted: Arc<Mutex<BTreeSet<String>>>,
    stopped: &[&str],
) -> Result<hyper::Response<String>, std::convert::Infallible> {
    let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
    let input = read(request.into_body()).await;
    let what = match operation.as_str() {
        "DescribeExecution" => return Ok(respond(200, &describe(&input, stopped))),
        "StartExecution" => format!("start {}", input["name"]),
        "StopExecution" => format!("stop {}", input["executionArn"]),
        "SendTaskSuccess" => format!("wake {}", input["taskToken"]),
        "SendTaskFailure" => format!("fail {}", input["taskToken"]),
        "PutEvents" => {
            let detail = input["Entries"][0]["Detail"].as_str().unwrap_or_default();
            let detail: Value = serde_json::from_str(detail).unwrap_or_default();
            format!("event {} {}", input["Entries"][0]["DetailType"], detail["job_id"])
        }
        other => other.to_owned(),
    };
    let is_new = noted.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
    Ok(match (operation.as_str(), is_new) {
        ("StartExecution", false) => respond(400, &json!({ "__type": "ExecutionAlreadyExists" })),
        ("SendTaskSuccess" | "SendTaskFailure", false) => respond(400, &json!({ "__type": "TaskTimedOut" })),
        _ => respond(200, &json!({ "FailedEntryCount": 0, "Entries": [] })),
    })
}

/// An execution runs, but for those whose ARNs contain one of these texts.
fn describe(input: &Value, stopped: &[&str]) -> Value {
    let arn = input["executionArn"].as_str().unwrap_or_default();
    let status = if stopped.iter().any(|part| arn.contains(part)) { "ABORTED" } else { "RUNNING" };
    json!({ "executionArn": arn, "stateMachineArn": "x", "status": status, "startDate": 1_767_225_600 })
}

fn respond(status: u16, body: &Value) -> hyper::Response<String> {
    let response =
        hyper::Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    response.body(body.to_string()).expect("a response")
}

async fn read(body: Incoming) -> Value {
    use futures_util::StreamExt;
    // s3s reads bodies as streams; so do we.
    let mut body = s3s::Body::from(body);
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = body.next().await {
        bytes.extend_from_slice(&piece);
    }
    serde_json::from_slice(&bytes).unwrap_or_default()
}
