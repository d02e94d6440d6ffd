//! Judges each answer by itself and by the earlier ones: a key has one answer, and nothing but a fault excuses a 5xx.

use crate::api::{Answer, Request};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What is judged of all answers so far.
#[derive(Default)]
pub(crate) struct Answers {
    /// The success that each key of a user got, with its request.
    keyed: Mutex<BTreeMap<(usize, String), Kept>>,
    counts: Mutex<BTreeMap<u16, u64>>,
}

struct Kept {
    status: u16,
    text: String,
    /// Of a new community: its description, which no other has.
    created: Option<String>,
}

impl Answers {
    /// What is wrong with this answer. `outage`: something was away meanwhile.
    pub(super) fn judge(&self, user: usize, request: &Request, answer: &Answer, outage: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut say = |what: String| wrong.push(format!("{what}: {} {}", request.method, request.path));
        if let Ok(mut counts) = self.counts.lock() {
            *counts.entry(answer.status).or_default() += 1;
        }
        let text: String = answer.text.chars().take(300).collect();
        match answer.status {
            0 if !outage => say(format!("no answer, and nothing was away ({text})")),
            400 | 401 | 403 | 404 | 405 => say(format!("a legal request got {} ({text})", answer.status)),
            503 if !outage => say(format!("503, and nothing was away ({text})")),
            503 if answer.is_ours() && !answer.headers.contains_key("retry-after") => {
                say("a 503 without Retry-After".to_owned());
            }
            // The gateway's own, for a function whose process is gone.
            500.. if !answer.is_ours() && outage => {}
            500..503 | 504.. => say(format!("{} ({text})", answer.status)),
            _ => {}
        }
        let (Some(key), true) = (&request.key, answer.is_success()) else { return wrong };
        let Ok(mut keyed) = self.keyed.lock() else { return wrong };
        let created =
            (request.path == "/communities").then(|| request.body.as_ref()?["description"].as_str());
        let created = created.flatten().map(str::to_owned);
        let kept = Kept { status: answer.status, text: answer.text.clone(), created };
        if let Some(first) = keyed.get(&(user, key.clone())) {
            if (first.status, &first.text) != (kept.status, &kept.text) {
                say(format!(
                    "the key {key} got two answers, {} {} and {} {}",
                    first.status, first.text, kept.status, kept.text
                ));
            }
        } else {
            keyed.insert((user, key.clone()), kept);
        }
        wrong
    }

    /// Keyed requests that created a community: user, key and the community's description.
    pub(super) fn created(&self) -> Vec<(usize, String, String)> {
        let Ok(keyed) = self.keyed.lock() else { return Vec::new() };
        let created =
            keyed.iter().filter_map(|((user, key), kept)| Some((*user, key.clone(), kept.created.clone()?)));
        created.collect()
    }

    /// How many answers there were of each status; 0 is none.
    pub(super) fn summary(&self) -> String {
        let Ok(counts) = self.counts.lock() else { return String::new() };
        counts.iter().map(|(status, count)| format!("{status}: {count}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(key: Option<&str>) -> Request {
        Request {
            token: String::new(),
            method: "POST",
            path: "/communities".to_owned(),
            key: key.map(str::to_owned),
            body: Some(json!({ "description": "one" })),
        }
    }

    fn answer(status: u16, text: &str) -> Answer {
        let headers = [("x-request-id".to_owned(), "r".to_owned())].into();
        Answer { status, headers, text: text.to_owned() }
    }

    #[test]
    fn a_key_with_two_answers_is_found() {
        let (answers, keyed) = (Answers::default(), request(Some("k")));
        assert!(answers.judge(0, &keyed, &answer(201, "a"), false).is_empty());
        assert!(answers.judge(0, &keyed, &answer(201, "a"), false).is_empty());
        assert!(answers.judge(1, &keyed, &answer(201, "b"), false).is_empty(), "another user's key");
        assert_eq!(answers.judge(0, &keyed, &answer(201, "b"), false).len(), 1);
        assert_eq!(answers.created()[0], (0, "k".to_owned(), "one".to_owned()));
    }

    #[test]
    fn nothing_excuses_a_500_and_an_outage_excuses_a_503_that_says_when_to_come_again() {
        let judge =
            |answer: &Answer, outage| Answers::default().judge(0, &request(None), answer, outage).len();
        assert_eq!((judge(&answer(500, ""), true), judge(&answer(503, ""), false)), (1, 1));
        assert_eq!(judge(&answer(503, ""), true), 1, "without Retry-After");
        let mut again = answer(503, "");
        again.headers.insert("retry-after".to_owned(), "5".to_owned());
        assert_eq!(judge(&again, true), 0);
        let gateway = Answer { status: 502, ..Answer::default() };
        assert_eq!((judge(&gateway, true), judge(&gateway, false)), (0, 1), "the gateway's own");
    }
}
