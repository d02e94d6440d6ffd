//! The HTTP API: a bearer token, JSON, problem documents; what is worth a repetition is repeated.

use crate::config::Config;
use crate::failure::{Exit, Failure, Outcome};
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The gateway gives up after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
const TRIES: u32 = 5;

/// Callers of the API. Clones share their connections.
#[derive(Clone)]
pub struct Api {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// What came back, whatever the status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// An agent that trusts what this machine trusts.
pub fn agent(timeout: Option<Duration>) -> ureq::Agent {
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

/// Worth another try: too many requests, or the other side is out of order.
pub fn again(status: u16) -> bool {
    status == 429 || status >= 500
}

/// A quarter of a second, then twice as long each time.
pub fn pause(tries: u32) {
    sleep(Duration::from_millis(250 << tries.min(5)));
}

impl Api {
    pub fn new(config: &Config) -> Self {
        Self {
            agent: agent(Some(TIMEOUT)),
            base: config.api_url.clone(),
            authorization: format!("Bearer {}", config.token),
        }
    }

    pub fn get(&self, path: &str) -> Outcome<Value> {
        good("GET", path, self.call("GET", path, None)?)
    }

    /// With an `Idempotency-Key` of its own, so that repetitions don't do it twice.
    pub fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        good("POST", path, self.call("POST", path, Some(body))?)
    }

    /// The answer whatever its status, for who can do something about a refusal.
    pub fn try_post(&self, path: &str, body: &Value) -> Outcome<Answer> {
        self.call("POST", path, Some(body))
    }

    pub fn delete(&self, path: &str, body: &Value) -> Outcome<Value> {
        good("DELETE", path, self.call("DELETE", path, Some(body))?)
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Answer> {
        let key = uuid::Uuid::now_v7().to_string();
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.once(method, path, body, &key);
            let repeat = answer.as_ref().map_or(true, |answer| again(answer.status));
            if !repeat || tries >= TRIES {
                return answer.map_err(|error| {
                    let message = format!("{} can't be reached: {error}.", self.base);
                    Failure::new(Exit::Unavailable, message)
                });
            }
            pause(tries);
        }
    }

    fn once(&self, method: &str, path: &str, body: Option<&Value>, key: &str) -> Result<Answer, ureq::Error> {
        const USER_AGENT: &str = concat!("onceload/", env!("CARGO_PKG_VERSION"));
        let (url, authorization) = (format!("{}{path}", self.base), self.authorization.as_str());
        // As a string, so that its length is sent: JSON would go in chunks.
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

/// The body of a 2xx; anything else is a failure in the service's words.
pub fn good(method: &str, path: &str, answer: Answer) -> Outcome<Value> {
    if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(refused(method, path, answer)) }
}

/// RFC 9457: title and detail are for people.
pub fn refused(method: &str, path: &str, answer: Answer) -> Failure {
    let exit = match answer.status {
        401 | 403 | 404 => Exit::Denied,
        409 => Exit::Conflict,
        400 | 422 => Exit::Usage,
        _ => Exit::Unavailable,
    };
    let said = |member: &str| answer.body.get(member).and_then(Value::as_str).map(str::to_owned);
    let words =
        said("detail").or_else(|| said("error")).or_else(|| said("message")).or_else(|| said("title"));
    let mut message = match (answer.status, words) {
        (401, _) => "The token is not accepted: it may have expired. Set ONCELOAD_TOKEN to a fresh one \
                     (on the local stack `cargo xtask up` writes one)."
            .to_owned(),
        (_, Some(words)) => words,
        (status, None) => format!("{method} {path} was answered {status}."),
    };
    let pointers = answer.body["errors"].as_array().map(|errors| {
        errors
            .iter()
            .filter_map(|error| error["pointer"].as_str())
            .filter(|p| !p.is_empty())
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
    fn refusals_have_exit_codes_and_words() {
        let says = |status: u16, body: Value| {
            let failure = refused("POST", "/x", Answer { status, body });
            (failure.exit, failure.message)
        };
        assert_eq!(says(404, json!({ "detail": "None." })), (Exit::Denied, "None.".into()));
        assert_eq!(says(409, json!({ "error": "Busy." })), (Exit::Conflict, "Busy.".into()));
        let invalid = json!({ "detail": "Bad.", "errors": [{ "pointer": "/name", "detail": "Bad." }] });
        assert_eq!(says(422, invalid), (Exit::Usage, "Bad. (/name)".into()));
        assert_eq!(says(502, json!("oops")).0, Exit::Unavailable);
        assert!(says(401, json!({ "message": "Unauthorized" })).1.contains("ONCELOAD_TOKEN"));
    }
}
