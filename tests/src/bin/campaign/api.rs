//! Calls the HTTP API, and writes every answer down for the comparison with `docs/openapi.yaml`.

use crate::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server that has crashed may take to come back, behind a pooler that waits 15 s before it connects again.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Api {
    agent: ureq::Agent,
    base: String,
    answers: PathBuf,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub token: String,
    pub method: &'static str,
    pub path: String,
    pub key: Option<String>,
    pub body: Option<Value>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// 0: no answer came.
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl Answer {
    /// `Null` unless the body is JSON.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// Whether a function answered, and not the gateway for it.
    pub(crate) fn is_ours(&self) -> bool {
        self.headers.contains_key("x-request-id")
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Api {
    pub(crate) fn new(base: &str, directory: &Path) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .build()
            .into();
        Self { agent, base: base.to_owned(), answers: directory.join("answers.jsonl") }
    }

    /// Sends a request. Without an answer the status is 0 and the text says why.
    pub(crate) async fn send(&self, request: &Request) -> Answer {
        let (agent, url, asked) =
            (self.agent.clone(), format!("{}{}", self.base, request.path), request.clone());
        let called = tokio::task::spawn_blocking(move || call(&agent, &url, &asked)).await;
        let answer = match called {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer { text: error.to_string(), ..Answer::default() },
            Err(error) => Answer { text: error.to_string(), ..Answer::default() },
        };
        if answer.is_ours() {
            let exchange = json!({
                "test": "campaign", "method": request.method, "path": request.path, "sent": request.body.as_ref().map(Value::to_string),
                "status": answer.status, "headers": answer.headers, "body": answer.text,
            });
            let file = std::fs::File::options().create(true).append(true).open(&self.answers);
            let _ = file.and_then(|mut file| file.write_all(format!("{exchange}\n").as_bytes()));
        }
        answer
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Outcome<Answer> {
        self.expect(token, "GET", path, None).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> Outcome<Answer> {
        self.expect(token, "POST", path, Some(body)).await
    }

    /// Sends a request that must get an answer, of any status but 5xx. One that is told to come again after a while does so.
    async fn expect(
        &self,
        token: &str,
        method: &'static str,
        path: &str,
        body: Option<Value>,
    ) -> Outcome<Answer> {
        let request = Request { token: token.to_owned(), method, path: path.to_owned(), key: None, body };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.send(&request).await;
            let is_to_be_repeated = answer.status == 503 && answer.headers.contains_key("retry-after");
            if is_to_be_repeated && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_secs(1)).await;
            } else if answer.status == 0 || answer.status >= 500 {
                return Err(format!("{method} {path}: {} {}", answer.status, answer.text).into());
            } else {
                return Ok(answer);
            }
        }
    }
}

fn call(agent: &ureq::Agent, url: &str, asked: &Request) -> Result<Answer, ureq::Error> {
    let mut request = ureq::http::Request::builder()
        .method(asked.method)
        .uri(url)
        .header("authorization", format!("Bearer {}", asked.token));
    if let Some(key) = &asked.key {
        request = request.header("idempotency-key", key);
    }
    let mut response = match &asked.body {
        Some(body) => {
            agent.run(request.header("content-type", "application/json").body(body.to_string())?)?
        }
        None if asked.method == "POST" => agent.run(request.body(String::new())?)?,
        None => agent.run(request.body(())?)?,
    };
    let text = response.body_mut().read_to_string()?;
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()))
        .collect();
    Ok(Answer { status: response.status().as_u16(), headers, text })
}
