//! Calls the HTTP API with a bearer token and JSON, and tries again while that may help.

use crate::config::Config;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// A little longer than the gateway's own limit of 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
const TRIES: u32 = 5;

/// A client of the API. Clones share their connections.
#[derive(Clone)]
pub(crate) struct Api {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// An answer of the API with any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Value,
}

/// Makes an HTTP agent that trusts the machine's certificates.
pub(crate) fn new_agent(timeout: Option<Duration>) -> ureq::Agent {
    let native = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate<'static>> =
        native.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(timeout)
        .timeout_connect(Some(Duration::from_secs(10)))
        .http_status_as_error(false)
        .build()
        .into()
}

/// Whether another try may succeed: after too many requests, or an error of the server.
pub(crate) fn may_succeed_later(status: u16) -> bool {
    status == 429 || status >= 500
}

/// Sleeps before the next try: half a second after the first, then twice as long each time.
pub(crate) fn pause(tries: u32) {
    sleep(Duration::from_millis(250 << tries.min(5)));
}

impl Api {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            agent: new_agent(Some(TIMEOUT)),
            base: config.api_url.clone(),
            authorization: format!("Bearer {}", config.token),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Outcome<Value> {
        accept("GET", path, self.call("GET", path, None)?)
    }

    /// Sends an `Idempotency-Key`, so that further tries don't repeat the work.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        accept("POST", path, self.call("POST", path, Some(body))?)
    }

    /// Returns the answer with any status, for callers that handle a refusal.
    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Outcome<Answer> {
        self.call("POST", path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str, body: &Value) -> Outcome<Value> {
        accept("DELETE", path, self.call("DELETE", path, Some(body))?)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Answer> {
        let key = uuid::Uuid::now_v7().to_string();
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.send(method, path, body, &key);
            let repeat = answer.as_ref().map_or(true, |answer| may_succeed_later(answer.status));
            if !repeat || tries >= TRIES {
                return answer.map_err(|error| {
                    let message = format!("Can't reach {}: {error}.", self.base);
                    Failure::new(Exit::Unavailable, message)
                });
            }
            pause(tries);
        }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>, key: &str) -> Result<Answer, ureq::Error> {
        const USER_AGENT: &str = concat!("onceload/", env!("CARGO_PKG_VERSION"));
        let (url, authorization) = (format!("{}{path}", self.base), self.authorization.as_str());
        // A string, so that the request has a content-length: the agent sends JSON in chunks.
        let text = body.map(ToString::to_string).unwrap_or_default();
        let mut response = match method {
            "POST" => self
                .agent
                .post(url)
                .header("authorization", authorization)
                .header("user-agent", USER_AGENT)
                .header("content-type", "application/json")
                .header("idempotency-key", key)
                .send(text)?,
            // A body with DELETE is unusual, not forbidden (RFC 9110, section 9.3.5).
            "DELETE" => self
                .agent
                .delete(url)
                .header("authorization", authorization)
                .header("user-agent", USER_AGENT)
                .header("content-type", "application/json")
                .force_send_body()
                .send(text)?,
            _ => self
                .agent
                .get(url)
                .header("authorization", authorization)
                .header("user-agent", USER_AGENT)
                .call()?,
        };
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string()?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }
}

/// The body of a 2xx answer. Any other answer is a failure with the service's message.
pub(crate) fn accept(method: &str, path: &str, answer: Answer) -> Outcome<Value> {
    if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(refusal(method, path, answer)) }
}

/// The failure that an answer means. People read the title and the detail of a problem document (RFC 9457).
pub(crate) fn refusal(method: &str, path: &str, answer: Answer) -> Failure {
    let exit = match answer.status {
        401 | 403 | 404 => Exit::Denied,
        409 => Exit::Conflict,
        400 | 422 => Exit::Usage,
        _ => Exit::Unavailable,
    };
    let text = |member: &str| answer.body.get(member).and_then(Value::as_str).map(terminal::part);
    let detail = ["detail", "error", "message", "title"].into_iter().find_map(text);
    let mut message = match (answer.status, detail) {
        (401, _) => "The API refused the token, which may have expired. Set ONCELOAD_TOKEN to a new one. \
                     For the local stack, `cargo xtask up` writes new tokens."
            .to_owned(),
        (_, Some(detail)) => detail,
        (status, None) => format!("{method} {path} failed with {status}."),
    };
    let pointers = answer.body["errors"].as_array().map(|errors| {
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .filter(|p| !p.is_empty())
            .map(terminal::part)
            .collect::<Vec<_>>()
    });
    if let Some(pointers) = pointers.filter(|pointers| !pointers.is_empty()) {
        message = format!("{message} ({})", pointers.join(", "));
    }
    Failure::new(exit, message).with(json!({ "status": answer.status, "body": answer.body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_an_exit_code_and_the_service_s_message() {
        let read = |status: u16, body: Value| {
            let failure = refusal("POST", "/x", Answer { status, body });
            (failure.exit, failure.message)
        };
        assert_eq!(read(404, json!({ "detail": "None." })), (Exit::Denied, "None.".into()));
        assert_eq!(read(409, json!({ "error": "Busy." })), (Exit::Conflict, "Busy.".into()));
        let invalid = json!({ "detail": "Bad.", "errors": [{ "pointer": "/name", "detail": "Bad." }] });
        assert_eq!(read(422, invalid), (Exit::Usage, "Bad. (/name)".into()));
        assert_eq!(read(502, json!("oops")).0, Exit::Unavailable);
        assert!(read(401, json!({ "message": "Unauthorized" })).1.contains("ONCELOAD_TOKEN"));
    }
}
