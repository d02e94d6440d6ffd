//! A test's world: its database, its S3, the functions' `App` on both, a merchant and one of its members.

use crate::db::TestDb;
use crate::execution::{Run, State};
use crate::objects::{ACCESS_KEY, BUCKET, SECRET_KEY, TestS3};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use import_jobs::check::check_source;
use serde_json::{Value, json};
use shared::db::jobs::find_view;
use shared::domain::actor::Actor;
use shared::domain::ids::{JobId, MerchantId, UserId};
use shared::domain::message::Kind;
use shared::domain::source::StartRequest;
use shared::lambda::clients::Clients;
use shared::lambda::{App, Budget, Config, MAX_DECOMPRESSED_BYTES};
use shared::s3::objects::Objects;
use std::time::Duration;
use tokio::net::TcpListener;
use uuid::Uuid;

/// Everything that one test works with.
pub struct World {
    pub db: TestDb,
    pub s3: TestS3,
    pub app: App,
    pub merchant: MerchantId,
    /// A member of `merchant`.
    pub actor: Actor,
}

impl World {
    /// A world on a new database.
    pub async fn new() -> Self {
        Self::with_database(TestDb::new().await).await
    }

    /// A world whose codes are the baseline's table, in every run of the tests: a foreign key can't reference a view.
    pub async fn with_baseline() -> Self {
        Self::with_database(TestDb::with_baseline().await).await
    }

    pub async fn with_database(db: TestDb) -> Self {
        let s3 = TestS3::start().await;
        let app = build_app(&db, &s3);
        let merchant = add_merchant(&db, "First").await;
        let actor = add_member(&db, merchant).await;
        Self { db, s3, app, merchant, actor }
    }

    /// The functions' `App` with a pool of its own, as another environment of the function has.
    pub fn app_with_pool(&self, connections: usize) -> App {
        App { db: self.db.pool(connections), ..self.app.clone() }
    }

    /// `import/{merchant}/{name}`.
    pub fn key_under_import(&self, name: &str) -> String {
        format!("import/{}/{name}", self.merchant)
    }

    /// `stage/{merchant}/{name}`.
    pub fn key_under_stage(&self, name: &str) -> String {
        format!("stage/{}/{name}", self.merchant)
    }

    /// Puts a CSV under `stage/` and returns its key.
    pub fn upload(&self, name: &str, body: impl Into<crate::Body>) -> String {
        let key = self.key_under_stage(name);
        self.s3.put(&key, body);
        key
    }

    /// Puts a CSV under `uploads/` and returns its key.
    pub fn correct(&self, name: &str, body: impl Into<crate::Body>) -> String {
        let key = format!("uploads/{}/{name}", self.merchant);
        self.s3.put(&key, body);
        key
    }

    /// Inserts codes that the merchant already has.
    pub async fn add_codes(&self, codes: &[&str]) {
        for code in codes {
            let quoted = code.replace('\'', "''");
            let sql = format!(
                "INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', '{quoted}')",
                self.merchant
            );
            self.db.exec(&sql).await;
        }
    }

    /// Inserts a code in a transaction that stays open: an insert of the same code waits for its end.
    pub async fn hold_code(&self, code: &str) -> HeldCode {
        let client = self.db.connect().await;
        let sql = format!(
            "BEGIN; INSERT INTO onceload.codes (merchant_id, code) VALUES ('{}', '{code}')",
            self.merchant
        );
        client.batch_execute(&sql).await.expect("a code in an open transaction");
        HeldCode(client)
    }

    /// An execution that somebody starts by hand for these keys.
    pub fn import_objects(&self, files: &[&str]) -> Run {
        Run::new(&self.app, json!({ "merchant_id": self.merchant, "files": files }))
    }

    /// Uploads a file under `stage/`; the execution that somebody starts by hand for it.
    pub fn import_file(&self, name: &str, body: impl Into<crate::Body>) -> Run {
        self.import_objects(&[&self.upload(name, body)])
    }

    /// Imports a new file to its end and approves it on the way.
    pub async fn import_to_end(&self, name: &str, body: impl Into<crate::Body>) -> Run {
        let mut run = self.import_file(name, body);
        run.finish(&self.actor).await.expect(State::Done);
        run
    }

    /// Imports a new file until it waits for approval.
    pub async fn import_until_approval(&self, name: &str, body: impl Into<crate::Body>) -> Run {
        let mut run = self.import_file(name, body);
        run.until(State::InsertCodes).await.expect(State::InsertCodes);
        run
    }

    /// What a check of these files answers.
    pub async fn check(&self, files: &[String]) -> Value {
        let request = StartRequest {
            merchant_id: self.merchant,
            files: Some(files.to_vec()),
            prefix: None,
            mapping: None,
            options: None,
        };
        let source = request.check().expect("a good request");
        check_source(&self.app, source, Duration::from_secs(60)).await.expect("an answer")
    }

    /// The job as the API shows it, without links.
    pub async fn show(&self, job: JobId) -> Value {
        let connection = self.app.db.connection().await.expect("connection");
        json!(find_view(&connection, &[self.merchant], job, false).await.expect("the view").expect("a job"))
    }

    /// The job's row.
    pub async fn read_job(&self, job: JobId) -> Value {
        let text = self
            .db
            .value(&format!("SELECT to_jsonb(j) FROM onceload.codes_import_jobs j WHERE id = '{job}'"))
            .await;
        serde_json::from_str(&text).expect("a row as JSON")
    }

    pub async fn read_status(&self, job: JobId) -> String {
        self.db.value(&format!("SELECT status FROM onceload.codes_import_jobs WHERE id = '{job}'")).await
    }

    /// The kinds of the job's messages in the outbox, in order.
    pub async fn read_outbox(&self, job: JobId) -> Vec<String> {
        self.db.column(&format!("SELECT kind FROM onceload.outbox WHERE job_id = '{job}' ORDER BY id")).await
    }

    /// Empties the staging of all imports, as crash recovery does with unlogged tables.
    pub async fn lose_staging(&self) {
        let tables = self
            .db
            .column(
                "SELECT format('onceload_staging.%I', relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE nspname = 'onceload_staging' AND relkind = 'r'",
            )
            .await;
        assert!(!tables.is_empty());
        self.db.exec(&format!("TRUNCATE {}", tables.join(", "))).await;
    }

    /// How many rows the job has in staging.
    pub async fn count_staged(&self, job: JobId) -> i64 {
        self.db.int(&format!("SELECT count(*) FROM onceload.codes_check_temp('{job}')")).await
    }

    /// How many codes in production come from the job.
    pub async fn count_codes_of(&self, job: JobId) -> i64 {
        self.db.int(&format!("SELECT count(*) FROM onceload.codes WHERE import_job_id = '{job}'")).await
    }

    /// The merchant's epoch, which every rollback raises.
    pub async fn read_codes_epoch(&self) -> i64 {
        self.db
            .int(&format!("SELECT codes_epoch FROM onceload.merchants WHERE id = '{}'", self.merchant))
            .await
    }

    /// How many codes the merchant has.
    pub async fn count_codes(&self) -> i64 {
        self.db
            .int(&format!("SELECT count(*) FROM onceload.codes WHERE merchant_id = '{}'", self.merchant))
            .await
    }
}

/// A code that another writer has inserted, but not committed.
pub struct HeldCode(tokio_postgres::Client);

impl HeldCode {
    /// Rolls the insert back.
    pub async fn release(self) {
        self.0.batch_execute("ROLLBACK").await.expect("a rollback");
    }
}

/// The functions' `App` with a database and a bucket. Nothing listens at the endpoint of Step Functions and
/// EventBridge, so undelivered messages stay in the outbox, where a test finds them.
fn build_app(db: &TestDb, s3: &TestS3) -> App {
    let aws = sdk_config(&s3.endpoint, 3);
    App {
        config: config(),
        db: db.pool(2),
        clients: clients_at(&unused_endpoint(), &Objects::new(&aws, BUCKET)),
    }
}

/// The settings of a function under test.
pub fn config() -> Config {
    Config {
        bucket: BUCKET.into(),
        state_machine_arn: Some("arn:aws:states:eu-central-1:000000000000:stateMachine:import".into()),
        maintenance_state_machine_arn: Some(
            "arn:aws:states:eu-central-1:000000000000:stateMachine:maintenance".into(),
        ),
        delivers: Kind::ALL.to_vec(),
        unregistered_imports_url: None,
        event_bus_name: "default".into(),
        approval_timeout: Duration::from_secs(604_800),
        insert_limit: Budget::within(Duration::from_secs(900)),
        staging_retention_days: 7,
        upload_retention_days: 30,
        database_storage: None,
        load_concurrency: 4,
        mark_concurrency: 4,
        max_decompressed_bytes: MAX_DECOMPRESSED_BYTES,
        migration_database_url: None,
    }
}

pub(crate) fn sdk_config(endpoint: &str, attempts: u32) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .endpoint_url(endpoint)
        .build()
}

/// Clients with the same bucket and this endpoint for Step Functions and EventBridge.
pub fn clients_at(endpoint: &str, objects: &Objects) -> Clients {
    Clients::new(sdk_config(endpoint, 1), objects.bucket()).with_objects(objects.clone())
}

/// The bucket's client at an endpoint.
pub fn objects_at(endpoint: &str) -> Objects {
    Objects::new(&sdk_config(endpoint, 1), BUCKET)
}

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy)]
enum Reply {
    Accept,
    Refuse(&'static str),
    Silence,
}

/// Starts an endpoint that answers every request with this error, in the AWS JSON protocol.
pub async fn serve_refusals(error: &'static str) -> String {
    serve_aws(move |_| Reply::Refuse(error)).await
}

/// Starts an endpoint that accepts every request and answers nothing, in the AWS JSON protocol.
pub async fn serve_acceptance() -> String {
    serve_aws(|_| Reply::Accept).await
}

/// The same, but requests to EventBridge get no answer.
pub async fn serve_without_events() -> String {
    serve_aws(|target| if target.starts_with("AWSEvents.") { Reply::Silence } else { Reply::Accept }).await
}

/// `reply`: by the operation that the header `X-Amz-Target` names.
async fn serve_aws(reply: impl Fn(&str) -> Reply + Copy + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| async move {
                let target = request.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
                let response =
                    hyper::Response::builder().header("content-type", "application/x-amz-json-1.0");
                match reply(target.unwrap_or_default()) {
                    Reply::Accept => response.body("{}".to_owned()),
                    Reply::Refuse(error) => response
                        .status(400)
                        .header("x-amzn-errortype", error)
                        .body(format!("{{\"__type\":\"{error}\",\"message\":\"no\"}}")),
                    Reply::Silence => std::future::pending().await,
                }
            });
            // Beside the others: clients keep their connections. One may disconnect at any time.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
        }
    });
    endpoint
}

/// The URL of a loopback port on which nothing listens.
pub fn unused_endpoint() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    format!("http://{}", listener.local_addr().expect("address"))
}

pub async fn add_merchant(db: &TestDb, name: &str) -> MerchantId {
    let id = Uuid::now_v7();
    db.exec(&format!("INSERT INTO onceload.merchants (id, name) VALUES ('{id}', '{name}')")).await;
    MerchantId(id)
}

/// The `sub` of this user's tokens.
pub fn subject(actor: &Actor) -> String {
    format!("subject-{}", actor.user)
}

/// A new user who is a member of that merchant.
pub async fn add_member(db: &TestDb, merchant: MerchantId) -> Actor {
    let user = Uuid::now_v7();
    db.exec(&format!(
        "INSERT INTO onceload.users (id, subject) VALUES ('{user}', 'subject-{user}');
         INSERT INTO onceload.merchant_members (merchant_id, user_id) VALUES ('{merchant}', '{user}')"
    ))
    .await;
    Actor { user: UserId(user), merchants: vec![merchant] }
}
