//! The stack under test: AWS clients, the HTTP API, the database.

use onceload_tests::{aws, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Client;
use xtask::stack::StackFile;

/// The contents of `stack.json`, and clients for them.
#[derive(Clone)]
pub(crate) struct Stack {
    pub directory: PathBuf,
    pub file: StackFile,
    pub s3: aws_sdk_s3::Client,
    pub states: aws_sdk_sfn::Client,
    pub events: aws_sdk_eventbridge::Client,
    agent: ureq::Agent,
}

/// A response of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: String,
    pub request_id: Option<String>,
    pub retry_after: Option<String>,
    /// All headers, under their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// `Null` unless the body is JSON.
    pub body: Value,
}

impl Answer {
    /// Whether this is the stored response to an earlier request with the same key.
    pub(crate) fn replayed(&self) -> bool {
        self.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    }
}

impl Stack {
    pub(crate) async fn connect() -> Self {
        let path = std::env::var("ONCELOAD_STACK")
            .expect("these tests need a running stack: `cargo xtask test --only e2e` brings one up");
        let path = PathBuf::from(path);
        let directory = path.parent().expect("stack.json lies in the stack's directory").to_path_buf();
        let file = StackFile::read(&directory).expect("stack.json");
        let config = aws::config(&file).await;
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(35)))
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        Self {
            directory,
            file,
            s3: aws_sdk_s3::Client::from_conf(s3),
            states: aws_sdk_sfn::Client::new(&config),
            events: aws_sdk_eventbridge::Client::new(&config),
            agent,
        }
    }

    /// Opens a database connection in the functions' role.
    pub(crate) async fn database(&self) -> Client {
        onceload_tests::db::connect(&self.file.database_url).await
    }

    /// The token of the first or the second demo user.
    pub(crate) fn token(&self, user: usize) -> &str {
        &self.file.users[user].token
    }

    pub(crate) async fn get(&self, token: Option<&str>, path: &str) -> Answer {
        self.call(token, path, None).await
    }

    pub(crate) async fn post(&self, token: Option<&str>, path: &str, body: impl ToString) -> Answer {
        self.call(token, path, Some(body.to_string())).await
    }

    pub(crate) async fn delete(&self, token: Option<&str>, path: &str, body: impl ToString) -> Answer {
        self.send(token, "DELETE", path, &[], Some(body.to_string())).await
    }

    /// Sends a POST with an `Idempotency-Key`.
    pub(crate) async fn post_with_key(
        &self,
        token: &str,
        path: &str,
        key: &str,
        body: impl ToString,
    ) -> Answer {
        let headers = [("idempotency-key", key)];
        self.send(Some(token), "POST", path, &headers, Some(body.to_string())).await
    }

    async fn call(&self, token: Option<&str>, path: &str, body: Option<String>) -> Answer {
        let method = if body.is_some() { "POST" } else { "GET" };
        self.send(token, method, path, &[], body).await
    }

    /// Sends a request and records the response, which is compared with `docs/openapi.yaml` after the run.
    pub(crate) async fn send(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.file.api_url));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (agent, sent, is_delete) = (self.agent.clone(), body.clone(), method == "DELETE");
        let called = tokio::task::spawn_blocking(move || {
            let mut response = match sent {
                // The client omits the body of a DELETE unless it is forced.
                Some(body) if is_delete => {
                    let (parts, ()) = request.body(())?.into_parts();
                    let mut request = agent.delete(parts.uri);
                    for (name, value) in &parts.headers {
                        request = request.header(name, value);
                    }
                    request.force_send_body().send(body)?
                }
                Some(body) => agent.run(request.body(body)?)?,
                None => agent.run(request.body(())?)?,
            };
            let text = response.body_mut().read_to_string()?;
            let mut headers = BTreeMap::new();
            for (name, value) in response.headers() {
                headers.insert(name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned());
            }
            Ok::<_, ureq::Error>((response.status().as_u16(), headers, text))
        });
        let (status, headers, text) = called.await.expect("the call").expect("an answer of the API");
        let exchange = json!({
            "test": std::thread::current().name(), "method": method, "path": path, "sent": body,
            "status": status, "headers": headers, "body": text,
        });
        self.record(&exchange);
        let header = |name: &str| headers.get(name).cloned();
        Answer {
            status,
            content_type: header("content-type").unwrap_or_default(),
            request_id: header("x-request-id"),
            retry_after: header("retry-after"),
            body: serde_json::from_str(&text).unwrap_or_default(),
            headers,
        }
    }

    /// Calls SQS without its SDK, which would be a dependency for three calls.
    pub(crate) async fn sqs(&self, action: &str, body: Value) -> Value {
        let (endpoint, region) = (self.file.aws_endpoint_url.clone(), self.file.region.clone());
        let target = format!("AmazonSQS.{action}");
        let called = tokio::task::spawn_blocking(move || {
            let scope = format!(
                "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/sqs/aws4_request, SignedHeaders=host, Signature=0"
            );
            let request = ureq::post(endpoint)
                .header("authorization", scope)
                .header("x-amz-target", target)
                .header("content-type", "application/x-amz-json-1.0");
            request.send(body.to_string())?.body_mut().read_json::<Value>()
        });
        called.await.expect("the call").expect("an answer of SQS")
    }

    /// Writes the line in one call, so that concurrent tests don't interleave.
    fn record(&self, answer: &Value) {
        let path = self.directory.join("answers.jsonl");
        let mut file = std::fs::File::options().create(true).append(true).open(path).expect("answers.jsonl");
        file.write_all(format!("{answer}\n").as_bytes()).expect("answers.jsonl");
    }
}

/// Probes until there is an answer.
pub(crate) async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    wait::until(what, Duration::from_millis(150), probe).await
}
