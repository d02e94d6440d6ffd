//! Step Functions as far as the sweep asks it: which executions run and which are over. The local engine has no 600 executions
//! to show; the end-to-end tests stop real ones.

use crate::fixture::{World, clients_at};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shared::lambda::App;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::TcpListener;

/// Every execution runs, except those that were stopped. Whatever else is asked of the service is accepted.
#[derive(Clone, Default)]
pub struct Executions(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stopped: BTreeSet<String>,
    looked_up: Vec<String>,
}

impl Executions {
    /// Starts the service, and returns it with an `App` that asks it.
    pub async fn serve(world: &World) -> (Self, App) {
        let executions = Self::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let served = executions.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let served = served.clone();
                let answer = service_fn(move |request| {
                    let served = served.clone();
                    async move { served.answer(request).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
            }
        });
        let clients = clients_at(&endpoint, world.app.objects());
        (executions, App { clients, ..world.app.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("the executions")
    }

    /// Stops an execution, as StopExecution does.
    pub fn stop(&self, arn: &str) {
        self.state().stopped.insert(arn.to_owned());
    }

    /// The executions that were looked up since the last time, in order.
    pub fn take_looked_up(&self) -> Vec<String> {
        std::mem::take(&mut self.state().looked_up)
    }

    async fn answer(
        &self,
        request: hyper::Request<Incoming>,
    ) -> hyper::http::Result<hyper::Response<String>> {
        let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
        let is_look_up = target.is_some_and(|target| target.ends_with(".DescribeExecution"));
        let body: Value = serde_json::from_slice(&read(request.into_body()).await).unwrap_or_default();
        let answer = match body["executionArn"].as_str() {
            Some(arn) if is_look_up => self.describe(arn),
            _ => json!({}),
        };
        hyper::Response::builder()
            .header("content-type", "application/x-amz-json-1.0")
            .body(answer.to_string())
    }

    fn describe(&self, arn: &str) -> Value {
        let mut state = self.state();
        state.looked_up.push(arn.to_owned());
        let status = if state.stopped.contains(arn) { "ABORTED" } else { "RUNNING" };
        json!({ "executionArn": arn, "stateMachineArn": "import", "status": status, "startDate": 1_700_000_000 })
    }
}

async fn read(mut body: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        read.extend_from_slice(&frame.into_data().unwrap_or_else(|_| Bytes::new()));
    }
    read
}
