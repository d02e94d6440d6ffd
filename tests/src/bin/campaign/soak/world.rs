//! What all actors share: the stack, its people, and how a request is sent, judged and written down.

use super::answers::Answers;
use super::journal::Journal;
use super::plan::{Click, MERCHANTS, USERS};
use crate::Outcome;
use crate::api::{Answer, Request};
use crate::gate::Gate;
use crate::local::Local;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use uuid::Uuid;

pub(crate) struct World {
    pub local: Local,
    pub gate: Gate,
    pub journal: Journal,
    pub answers: Answers,
    pub merchants: Vec<Uuid>,
    /// Claimed by the application, and committed: merchant, code and customer.
    pub claimed: Mutex<Vec<(Uuid, String, String)>>,
    /// Pairs of imports that clicks on the same button started, in order of their ids, which are those of time.
    pub clicked_twice: Mutex<Vec<Vec<String>>>,
    /// Created communities.
    pub communities: Mutex<Vec<String>>,
    /// Of those who take the database server away: one at a time.
    pub server: tokio::sync::Mutex<()>,
}

/// A client asks again so many times if nobody answers.
const TRIES: u32 = 4;

impl World {
    pub(super) async fn create(directory: &Path) -> Outcome<Self> {
        let local = Local::connect(&directory.join("stack")).await?;
        let users: Vec<String> = local.file.users.iter().map(|user| user.user_id.clone()).collect();
        let mut merchants = Vec::new();
        for n in 0..MERCHANTS {
            merchants.push(local.add_merchant(&format!("merchant {n}"), &users).await?);
        }
        Ok(Self {
            gate: Gate::new(&local.directory),
            local,
            journal: Journal::create(&directory.join("journal.jsonl"))?,
            answers: Answers::default(),
            merchants,
            claimed: Mutex::default(),
            clicked_twice: Mutex::default(),
            communities: Mutex::default(),
            server: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn token(&self, user: usize) -> &str {
        &self.local.file.users[user % USERS as usize].token
    }

    pub(super) async fn get(&self, who: &str, user: usize, path: &str) -> Answer {
        let token = self.token(user).to_owned();
        let request = Request { token, method: "GET", path: path.to_owned(), key: None, body: None };
        self.send(who, user, &request).await
    }

    /// Clicks as the plan says: several times at once, and once more afterwards. Returns the answers.
    pub(super) async fn click(
        &self,
        who: &str,
        user: usize,
        path: &str,
        body: Value,
        click: &Click,
    ) -> Vec<Answer> {
        let request = Request {
            token: self.token(user).to_owned(),
            method: "POST",
            path: path.to_owned(),
            key: click.key.clone(),
            body: Some(body),
        };
        let mut answers = if click.times > 1 {
            let (first, second) = tokio::join!(self.ask(who, user, &request), self.ask(who, user, &request));
            vec![first, second]
        } else {
            vec![self.ask(who, user, &request).await]
        };
        if click.again && click.key.is_some() {
            answers.push(self.ask(who, user, &request).await);
        }
        answers
    }

    /// Sends a request until somebody answers. Without a key a second try would be a second request.
    async fn ask(&self, who: &str, user: usize, request: &Request) -> Answer {
        let mut tries = 0;
        loop {
            let answer = self.send(who, user, request).await;
            tries += 1;
            if request.key.is_none() || tries == TRIES || (answer.status != 0 && answer.status < 500) {
                return answer;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    async fn send(&self, who: &str, user: usize, request: &Request) -> Answer {
        let sent = Instant::now();
        let answer = self.local.api.send(request).await;
        let taken = sent.elapsed();
        self.journal.write(
            who,
            "request",
            json!({
                "user": user, "method": request.method, "path": request.path, "key": request.key, "body": request.body,
                "status": answer.status, "milliseconds": taken.as_millis() as u64, "text": answer.text,
                "replayed": answer.headers.contains_key("idempotent-replayed"),
            }),
        );
        let outage = self.journal.had_outage(sent, Instant::now());
        for wrong in self.answers.judge(user, request, &answer, outage) {
            self.journal.find(wrong);
        }
        answer
    }

    /// The merchant's newest imports; none if nobody answers.
    pub(super) async fn imports(&self, who: &str, user: usize, merchant: usize) -> Vec<Value> {
        let path = format!("/imports?merchant_id={}&limit=50", self.merchants[merchant]);
        let answer = self.get(who, user, &path).await;
        answer.body()["imports"].as_array().cloned().unwrap_or_default()
    }
}
