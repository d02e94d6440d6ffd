//! Calls the HTTP API as an operator's tool does, with a bearer token and JSON.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::job::{FilePage, Job, JobPage};
use crate::{Context, Error, Result};

/// A little longer than the gateway's own limit of 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);
const TRIES: u32 = 4;

pub(super) struct Api {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

/// An answer of the API with any status.
struct Answer {
    status: u16,
    body: Value,
}

impl Api {
    pub(super) fn new(base: &str, token: &str) -> Self {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {token}"),
        }
    }

    /// Lists the merchant's 20 newest imports, newest first.
    pub(super) fn imports(&self, merchant_id: &str) -> Result<Vec<Job>> {
        let path = format!("/imports?merchant_id={merchant_id}&limit=20");
        let page: JobPage = self.call("GET", &path, None)?;
        Ok(page.imports)
    }

    pub(super) fn import(&self, job_id: &str) -> Result<Job> {
        self.call("GET", &format!("/imports/{job_id}"), None)
    }

    /// All files of an import, page by page.
    pub(super) fn files(&self, job_id: &str) -> Result<FilePage> {
        let path = format!("/imports/{job_id}/files?limit=100");
        let mut files: FilePage = self.call("GET", &path, None)?;
        while let Some(next) = files.next.take() {
            let mut page: FilePage = self.call("GET", &format!("{path}&cursor={next}"), None)?;
            files.files.append(&mut page.files);
            files.next = page.next;
        }
        Ok(files)
    }

    /// Approves an import. A second try gets the same answer as the first.
    pub(super) fn approve(&self, job_id: &str, clean_count: u64) -> Result<()> {
        let body = serde_json::json!({ "confirm": "YES", "clean_count": clean_count });
        self.call::<Value>("POST", &format!("/imports/{job_id}/approve"), Some(&body)).map(drop)
    }

    /// Cancels an import. A running step stops at its next check; a waiting import ends at once.
    pub(super) fn cancel(&self, job_id: &str) -> Result<()> {
        let body = serde_json::json!({});
        self.call::<Value>("POST", &format!("/imports/{job_id}/cancel"), Some(&body)).map(drop)
    }

    /// Sends a request and parses the 2xx answer. Tries again after a lost connection, 429 and 5xx.
    fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            tries += 1;
            let answer = self.send(path, body);
            let again = match &answer {
                Ok(answer) => answer.status == 429 || answer.status >= 500,
                Err(_) => true,
            };
            if again && tries < TRIES {
                sleep(Duration::from_millis(250 << tries));
                continue;
            }
            let answer = answer.context(|| format!("{method} {path}"))?;
            if !(200..300).contains(&answer.status) {
                return Err(refusal(method, path, &answer));
            }
            return serde_json::from_value(answer.body)
                .context(|| format!("parse the answer to {method} {path}"));
        }
    }

    fn send(&self, path: &str, body: Option<&Value>) -> Result<Answer, ureq::Error> {
        let url = format!("{}{path}", self.base);
        let mut response = match body {
            None => self.agent.get(url).header("authorization", &self.authorization).call()?,
            // A string, so that the request has a content-length: the agent sends JSON in chunks.
            Some(body) => self
                .agent
                .post(url)
                .header("authorization", &self.authorization)
                .header("content-type", "application/json")
                .send(body.to_string())?,
        };
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }
}

/// The error that an answer means. People read the title and the detail of a problem document (RFC 9457).
fn refusal(method: &str, path: &str, answer: &Answer) -> Error {
    let text = |member: &str| answer.body.get(member).and_then(Value::as_str).map(str::to_owned);
    let texts: Vec<String> =
        [text("title"), text("detail"), text("error"), text("message")].into_iter().flatten().collect();
    let message = if texts.is_empty() { answer.body.to_string() } else { texts.join(": ") };
    let hint = match answer.status {
        401 => "; the token in target/local/stack.json may have expired: `cargo xtask up` writes new tokens",
        _ => "",
    };
    Error::advice(format!("{method} {path} failed with {}: {message}{hint}", answer.status))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Serves each response on one connection, and returns the requests.
    fn serve(responses: Vec<(&'static str, &'static str)>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/base/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let answer = |(status, body): (&str, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut piece = [0; 1024];
                loop {
                    let read = stream.read(&mut piece).unwrap();
                    request.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let sent = text.split_once("\r\n\r\n").map(|(_, sent)| sent.len());
                    let wanted = text
                        .to_lowercase()
                        .split_once("content-length: ")
                        .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
                    if read == 0 || sent.is_some_and(|length| length >= wanted) {
                        let length = body.len();
                        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n").unwrap();
                        write!(stream, "connection: close\r\n\r\n{body}").unwrap();
                        return text;
                    }
                }
            };
            responses.into_iter().map(answer).collect()
        });
        (base, server)
    }

    #[test]
    fn a_503_is_tried_again_and_every_try_sends_the_token() {
        let (base, server) = serve(vec![("503 Busy", "{}"), ("200 OK", r#"{"imports":[]}"#)]);
        assert_eq!(Api::new(&base, "secret").imports("m").unwrap().len(), 0);
        let requests = server.join().unwrap();
        assert!(requests[1].starts_with("GET /base/imports?merchant_id=m&limit=20 HTTP/1.1\r\n"));
        assert!(requests[1].contains("authorization: Bearer secret\r\n"));
    }

    #[test]
    fn an_error_has_the_title_and_detail_of_the_problem_document() {
        let problem = r#"{"title":"Wrong count","detail":"it is 705."}"#;
        let (base, server) = serve(vec![("409 Conflict", problem)]);
        let error = Api::new(&base, "secret").approve("j", 7).unwrap_err().to_string();
        assert_eq!(error, "POST /imports/j/approve failed with 409: Wrong count: it is 705.");
        let requests = server.join().unwrap();
        assert!(requests[0].contains("\"clean_count\":7") && requests[0].contains("\"confirm\":\"YES\""));
    }
}
