//! A merchant of the test's own, and what its operator, the first demo user, does.

use crate::issuer::{Pool, claims};
use crate::stack::{Answer, Stack, until};
use crate::sweep::sweep;
use aws_sdk_sfn::types::ExecutionStatus;
use onceload_tests::db::{rows, value};
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio_postgres::Client;
use uuid::Uuid;

pub(crate) struct Merchant {
    pub id: Uuid,
    pub stack: Stack,
    pub db: Client,
    since: SystemTime,
}

/// How an execution ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub status: ExecutionStatus,
    pub output: Value,
    pub error: String,
    pub cause: String,
}

impl Merchant {
    pub(crate) async fn new(name: &str) -> Self {
        Self::on(Stack::connect().await, name).await
    }

    pub(crate) async fn on(stack: Stack, name: &str) -> Self {
        let (id, db) = (Uuid::now_v7(), stack.database().await);
        let user = &stack.file.users[0].user_id;
        db.batch_execute(&format!(
            "INSERT INTO onceload.merchants (id, name) VALUES ('{id}', '{name}');
             INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{id}', '{user}')"
        ))
        .await
        .expect("a merchant");
        Self { id, stack, db, since: SystemTime::now() }
    }

    /// Adds a member and returns a token and the user's id. The demo users are busy with other tests.
    pub(crate) async fn new_member(&self) -> (String, String) {
        let email = format!("{}@example.com", Uuid::now_v7());
        let pool = Pool::trusted(&self.stack);
        pool.add_user(&email, true).await;
        let token = pool.issue_token(&email).await;
        // The first request creates the user.
        assert_eq!(self.stack.get(Some(&token), "/imports").await.status, 200);
        let subject = claims(&token)["sub"].as_str().expect("sub").to_owned();
        let user =
            value(&self.db, &format!("SELECT id FROM onceload.users WHERE subject = '{subject}'")).await;
        let member = format!(
            "INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{}', '{user}')",
            self.id
        );
        self.db.batch_execute(&member).await.expect("a member");
        (token, user)
    }

    /// A token of a user whose email address is not verified.
    pub(crate) async fn unverified(&self) -> String {
        let email = format!("{}@example.com", Uuid::now_v7());
        let pool = Pool::trusted(&self.stack);
        pool.add_user(&email, false).await;
        pool.issue_token(&email).await
    }

    // ------------------------------------------------------------ objects

    /// `{root}/{merchant}/{name}`
    pub(crate) fn key(&self, root: &str, name: &str) -> String {
        format!("{root}/{}/{name}", self.id)
    }

    /// Uploads an object and returns its version.
    pub(crate) async fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> String {
        let body = aws_sdk_s3::primitives::ByteStream::from(body.into());
        let put = self.stack.s3.put_object().bucket(&self.stack.file.bucket).key(key).body(body).send().await;
        put.expect("an upload").version_id.expect("the bucket keeps versions")
    }

    // ------------------------------------------------------------ executions

    /// Starts an execution of the import's state machine and returns its ARN.
    pub(crate) async fn start_execution(&self, input: &Value) -> String {
        let machine = &self.stack.file.state_machine_arn;
        let started = self.stack.states.start_execution().state_machine_arn(machine).input(input.to_string());
        started.send().await.expect("an execution").execution_arn
    }

    pub(crate) async fn wait_for_end(&self, execution: &str) -> Ended {
        until("the end of the execution", async || {
            let found = self.stack.states.describe_execution().execution_arn(execution).send().await;
            let found = found.expect("the execution");
            (*found.status() != ExecutionStatus::Running).then(|| Ended {
                status: found.status.clone(),
                output: found.output().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
                error: found.error.unwrap_or_default(),
                cause: found.cause.unwrap_or_default(),
            })
        })
        .await
    }

    /// Waits for the end of the job's execution.
    pub(crate) async fn execution_of(&self, job: &str) -> Ended {
        self.wait_for_end(&self.running_execution(job).await).await
    }

    /// The execution that works on the job.
    pub(crate) async fn running_execution(&self, job: &str) -> String {
        value(&self.db, &format!("SELECT execution_arn FROM onceload.codes_import_jobs WHERE id = '{job}'"))
            .await
    }

    /// Waits for the first execution whose input names this merchant, and for its end.
    pub(crate) async fn wait_for_execution(&self) -> Ended {
        let found = async || self.executions().await.pop().map(|(execution, _)| execution);
        self.wait_for_end(&until("an execution", found).await).await
    }

    /// All executions of this merchant, each with whether it still runs.
    async fn executions(&self) -> Vec<(String, bool)> {
        let jobs = rows(
            &self.db,
            &format!("SELECT id FROM onceload.codes_import_jobs WHERE merchant_id = '{}'", self.id),
        )
        .await;
        let names: Vec<String> = jobs.into_iter().flatten().chain([self.id.to_string()]).collect();
        let listed = self
            .stack
            .states
            .list_executions()
            .state_machine_arn(&self.stack.file.state_machine_arn)
            .send()
            .await
            .expect("executions");
        let mut found = Vec::new();
        for execution in listed.executions() {
            let started = SystemTime::try_from(*execution.start_date()).expect("a date");
            if started + std::time::Duration::from_secs(2) < self.since {
                continue;
            }
            let arn = execution.execution_arn();
            let described = self.stack.states.describe_execution().execution_arn(arn).send().await;
            let described = described.expect("the execution");
            if names.iter().any(|name| described.input().unwrap_or_default().contains(name)) {
                found.push((arn.to_owned(), *described.status() == ExecutionStatus::Running));
            }
        }
        found
    }

    // ------------------------------------------------------------ the API, as its operator

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.stack.get(Some(self.stack.token(0)), path).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.stack.post(Some(self.stack.token(0)), path, body).await
    }

    pub(crate) async fn delete(&self, path: &str, body: impl ToString) -> Answer {
        self.stack.delete(Some(self.stack.token(0)), path, body).await
    }

    /// Waits until the merchant has so many imports, stand-ins not counted, and returns them, oldest first.
    pub(crate) async fn imports(&self, count: usize) -> Vec<Value> {
        let path = format!("/imports?merchant_id={}&limit=100", self.id);
        let mut found = until(&format!("{count} imports"), async || {
            let answer = self.get(&path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let mut imports = answer.body["imports"].as_array().cloned().unwrap_or_default();
            imports.retain(|job| job["source"] != json!({}));
            (imports.len() >= count).then_some(imports)
        })
        .await;
        assert_eq!(found.len(), count, "{found:#?}");
        found.reverse();
        found
    }

    /// Waits for the merchant's only import and returns its id.
    pub(crate) async fn only_import(&self) -> String {
        id_of(&self.imports(1).await[0])
    }

    pub(crate) async fn import(&self, job: &str) -> Value {
        let answer = self.get(&format!("/imports/{job}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    pub(crate) async fn files(&self, job: &str) -> Vec<Value> {
        let answer = self.get(&format!("/imports/{job}/files")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body["next"].is_null(), "more than a page: {answer:?}");
        answer.body["files"].as_array().cloned().expect("files")
    }

    /// Waits for the import's status; fails at once if the import ends in another one.
    pub(crate) async fn wait_for_status(&self, job: &str, status: &str) -> Value {
        until(&format!("import {job} in state {status}"), async || {
            let found = self.import(job).await;
            let is = found["status"].as_str().unwrap_or_default();
            let over = matches!(is, "completed" | "failed" | "cancelled" | "expired");
            assert!(is == status || !over, "the import is {is}: {found:#}");
            (is == status).then_some(found)
        })
        .await
    }

    /// Waits for the import's status after its approval; fails if it asks for another one.
    pub(crate) async fn wait_for_status_unasked(&self, job: &str, status: &str) -> Value {
        until(&format!("import {job} in state {status}, without another approval"), async || {
            let found = self.import(job).await;
            assert!(found["status"] != json!("awaiting_approval"), "it asks again: {found:#}");
            let over = matches!(found["status"].as_str(), Some("failed" | "cancelled" | "expired"));
            assert!(!over, "{found:#}");
            (found["status"] == json!(status)).then_some(found)
        })
        .await
    }

    /// Waits until the import awaits approval again, after it has loaded and checked again so many times.
    pub(crate) async fn wait_for_next_approval(&self, job: &str, restaged: u32, rechecked: u32) -> Value {
        let sql = format!(
            "SELECT status, restage_count, recheck_count, error_message FROM onceload.codes_import_jobs WHERE id = '{job}'"
        );
        until("the second wait for approval", async || {
            let row = rows(&self.db, &sql).await.remove(0);
            assert!(!matches!(row[0].as_str(), "completed" | "failed" | "cancelled" | "expired"), "{row:?}");
            (row[0] == "awaiting_approval"
                && row[1] == restaged.to_string()
                && row[2] == rechecked.to_string())
            .then_some(())
        })
        .await;
        self.import(job).await
    }

    /// Waits until the import sleeps in line for the merchant.
    pub(crate) async fn wait_in_line(&self, job: &str) {
        let sql = format!(
            "SELECT phase = 'waiting_for_merchant' AND task_token IS NOT NULL FROM onceload.codes_import_jobs WHERE id = '{job}'"
        );
        until("an import in line", async || (value(&self.db, &sql).await == "t").then_some(())).await;
    }

    /// Approves so many codes.
    pub(crate) async fn approve(&self, job: &str, clean: u64) -> Answer {
        let body = json!({ "confirm": "YES", "clean_count": clean });
        self.post(&format!("/imports/{job}/approve"), body).await
    }

    pub(crate) async fn cancel(&self, job: &str) -> Answer {
        self.post(&format!("/imports/{job}/cancel"), "").await
    }

    /// Uploads a file that starts an import and waits until it awaits approval.
    pub(crate) async fn upload_for_approval(&self, name: &str, body: impl Into<Vec<u8>>) -> String {
        self.put(&self.key("import", name), body).await;
        let job = self.only_import().await;
        self.wait_for_status(&job, "awaiting_approval").await;
        job
    }

    // ------------------------------------------------------------ the database

    /// Inserts codes that no import brought.
    pub(crate) async fn add_codes<T: AsRef<str>>(&self, codes: &[T]) {
        let values: Vec<String> =
            codes.iter().map(|code| format!("('{}', '{}')", self.id, code.as_ref())).collect();
        let sql = format!("INSERT INTO onceload.codes (merchant_id, code) VALUES {}", values.join(", "));
        self.db.batch_execute(&sql).await.expect("codes");
    }

    pub(crate) async fn count_codes(&self) -> u64 {
        let sql = format!("SELECT count(*) FROM onceload.codes WHERE merchant_id = '{}'", self.id);
        value(&self.db, &sql).await.parse().expect("a count")
    }

    pub(crate) async fn count_codes_of(&self, job: &str) -> u64 {
        let sql = format!(
            "SELECT count(*) FROM onceload.codes WHERE merchant_id = '{}' AND import_job_id = '{job}'",
            self.id
        );
        value(&self.db, &sql).await.parse().expect("a count")
    }

    /// The job's staging tables of one kind: buckets `b` or side tables `d`.
    pub(crate) async fn staging_tables(&self, job: &str, kind: char) -> Vec<String> {
        let hex = job.replace('-', "");
        let sql = format!(
            "SELECT relname FROM pg_class WHERE relnamespace = 'onceload_staging'::regnamespace
                AND relkind = 'r' AND starts_with(relname, '{kind}_{hex}_') ORDER BY 1"
        );
        rows(&self.db, &sql)
            .await
            .into_iter()
            .flatten()
            .map(|name| format!("onceload_staging.{name}"))
            .collect()
    }

    /// Inserts a stand-in for another import, which holds the merchant's lease until [`Merchant::release`]. Its execution counts as
    /// started a moment ago, so no sweep misses it.
    pub(crate) async fn occupy(&self) -> String {
        let id = Uuid::now_v7();
        let sql = format!(
            "INSERT INTO onceload.codes_import_jobs (id, merchant_id, status, phase, leased, source_info, heartbeat_at)
             VALUES ('{id}', '{}', 'loading', 'loading', true, '{{}}', now());
             INSERT INTO onceload.outbox (job_id, kind, payload, delivered_at)
             VALUES ('{id}', 'start_execution', '{{\"attempt\": 1}}', now())",
            self.id
        );
        self.db.batch_execute(&sql).await.expect("a busy merchant");
        id.to_string()
    }

    pub(crate) async fn release(&self, job: &str) {
        let sql = format!(
            "UPDATE onceload.codes_import_jobs SET status = 'failed', phase = 'failed', leased = false, finished_at = now(),
                    error_message = 'stood in for another import' WHERE id = '{job}'"
        );
        self.db.batch_execute(&sql).await.expect("the lease is given back");
        // No function has committed this, so none delivers what the next in line was promised.
        sweep(self).await;
    }

    // ------------------------------------------------------------ afterwards

    /// Waits until every execution has ended and every message is delivered, and asserts that every import is final and no
    /// lease is held. Returns how many executions there were. Every test ends with it.
    pub(crate) async fn wait_for_rest(&self) -> usize {
        let executions = until("the end of all executions", async || {
            let executions = self.executions().await;
            executions.iter().all(|(_, running)| !running).then_some(executions)
        })
        .await;
        let sql = format!(
            "SELECT j.id, j.status, j.leased, (SELECT count(*) FROM onceload.outbox o WHERE o.job_id = j.id AND o.delivered_at IS NULL)
               FROM onceload.codes_import_jobs j WHERE merchant_id = '{}'",
            self.id
        );
        until("delivery of all messages", async || {
            let jobs = rows(&self.db, &sql).await;
            for job in &jobs {
                let over = matches!(
                    job[1].as_str(),
                    "completed" | "rolled_back" | "failed" | "cancelled" | "expired"
                );
                assert!(over && job[2] == "f", "left behind: {job:?}");
            }
            jobs.iter().all(|job| job[3] == "0").then_some(())
        })
        .await;
        executions.len()
    }
}

pub(crate) fn id_of(job: &Value) -> String {
    job["job_id"].as_str().expect("job_id").to_owned()
}

/// The named counts of an import; a missing one is -1.
pub(crate) fn counts<const N: usize>(job: &Value, names: [&str; N]) -> [i64; N] {
    names.map(|name| job["counts"][name].as_i64().unwrap_or(-1))
}
