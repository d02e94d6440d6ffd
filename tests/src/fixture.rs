//! A test's world: its database, its S3, the functions' `App` on both, merchants and users.

use crate::db::TestDb;
use crate::drive::Run;
use crate::objects::{ACCESS_KEY, BUCKET, SECRET_KEY, TestS3};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use shared::db::decisions::Actor;
use shared::domain::ids::{JobId, MerchantId, UserId};
use shared::edge::aws::Clients;
use shared::edge::objects::Objects;
use shared::edge::{App, Config};
use std::time::Duration;
use tokio::net::TcpListener;
use uuid::Uuid;

/// Everything that one test works with.
pub struct Bench {
    pub db: TestDb,
    pub s3: TestS3,
    pub app: App,
    pub merchant: MerchantId,
    /// A member of `merchant`.
    pub actor: Actor,
}

impl Bench {
    pub async fn new() -> Self {
        Self::on(TestDb::new().await).await
    }

    pub async fn on(db: TestDb) -> Self {
        let s3 = TestS3::start().await;
        let app = app(&db, &s3);
        let merchant = add_merchant(&db, "First").await;
        let actor = add_member(&db, merchant).await;
        Self { db, s3, app, merchant, actor }
    }

    /// `import/{merchant}/{name}`.
    pub fn import_key(&self, name: &str) -> String {
        format!("import/{}/{name}", self.merchant)
    }

    /// `stage/{merchant}/{name}`.
    pub fn stage_key(&self, name: &str) -> String {
        format!("stage/{}/{name}", self.merchant)
    }

    /// Puts a CSV under `stage/` and returns its key.
    pub fn stage(&self, name: &str, body: impl Into<crate::Body>) -> String {
        let key = self.stage_key(name);
        self.s3.put(&key, body);
        key
    }

    /// Codes that the merchant has already.
    pub async fn add_codes(&self, codes: &[&str]) {
        for code in codes {
            let quoted = code.replace('\'', "''");
            let sql =
                format!("INSERT INTO codes (merchant_id, code) VALUES ('{}', '{quoted}')", self.merchant);
            self.db.exec(&sql).await;
        }
    }

    /// An execution by hand for these keys.
    pub fn request(&self, files: &[&str]) -> Run {
        Run::new(&self.app, json!({ "merchant_id": self.merchant, "files": files }))
    }

    /// An execution by hand for one new file under `stage/`.
    pub fn file(&self, name: &str, body: impl Into<crate::Body>) -> Run {
        self.request(&[&self.stage(name, body)])
    }

    /// The job's row.
    pub async fn job(&self, job: JobId) -> Value {
        let text =
            self.db.value(&format!("SELECT to_jsonb(j) FROM codes_import_jobs j WHERE id = '{job}'")).await;
        serde_json::from_str(&text).expect("a row as JSON")
    }

    pub async fn status(&self, job: JobId) -> String {
        self.db.value(&format!("SELECT status FROM codes_import_jobs WHERE id = '{job}'")).await
    }

    /// Kinds of the messages that this job has left in the outbox, in order.
    pub async fn outbox(&self, job: JobId) -> Vec<String> {
        self.db.column(&format!("SELECT kind FROM outbox WHERE job_id = '{job}' ORDER BY id")).await
    }

    /// How many codes the merchant has.
    pub async fn codes(&self) -> i64 {
        self.db.int(&format!("SELECT count(*) FROM codes WHERE merchant_id = '{}'", self.merchant)).await
    }
}

/// The functions' `App` on these. Nobody listens where Step Functions and EventBridge would be: what is to be
/// delivered stays in the outbox, where a test finds it.
pub fn app(db: &TestDb, s3: &TestS3) -> App {
    let aws = sdk_config(&s3.endpoint, 3);
    App {
        config: Config {
            bucket: BUCKET.into(),
            state_machine_arn: Some("arn:aws:states:eu-central-1:000000000000:stateMachine:import".into()),
            maintenance_state_machine_arn: Some(
                "arn:aws:states:eu-central-1:000000000000:stateMachine:maintenance".into(),
            ),
            event_bus_name: "default".into(),
            approval_timeout: Duration::from_secs(604_800),
            staging_retention_days: 7,
            upload_retention_days: 30,
            load_concurrency: 4,
            mark_concurrency: 4,
        },
        db: db.pool(2),
        clients: states_at(&closed_endpoint(), &Objects::new(&aws, BUCKET)),
    }
}

fn sdk_config(endpoint: &str, attempts: u32) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .endpoint_url(endpoint)
        .build()
}

/// The same bucket, and this endpoint for Step Functions and EventBridge.
pub fn states_at(endpoint: &str, objects: &Objects) -> Clients {
    Clients::new(sdk_config(endpoint, 1), objects.bucket()).with_objects(objects.clone())
}

/// The bucket's client at an endpoint.
pub fn objects_at(endpoint: &str) -> Objects {
    Objects::new(&sdk_config(endpoint, 1), BUCKET)
}

/// An endpoint that refuses everything with this error, in the AWS JSON protocol.
pub async fn refusing(error: &'static str) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let refuse = service_fn(move |_: hyper::Request<hyper::body::Incoming>| async move {
                hyper::Response::builder()
                    .status(400)
                    .header("x-amzn-errortype", error)
                    .header("content-type", "application/x-amz-json-1.0")
                    .body(format!("{{\"__type\":\"{error}\",\"message\":\"no\"}}"))
            });
            // A client that goes away is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), refuse).await;
        }
    });
    endpoint
}

/// A loopback port on which nobody listens.
pub fn closed_endpoint() -> String {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    format!("http://{}", listener.local_addr().expect("address"))
}

pub async fn add_merchant(db: &TestDb, name: &str) -> MerchantId {
    let id = Uuid::now_v7();
    db.exec(&format!("INSERT INTO merchants (id, name) VALUES ('{id}', '{name}')")).await;
    MerchantId(id)
}

/// A new user who is a member of that merchant.
pub async fn add_member(db: &TestDb, merchant: MerchantId) -> Actor {
    let user = Uuid::now_v7();
    db.exec(&format!(
        "INSERT INTO users (id, subject) VALUES ('{user}', 'subject-{user}');
         INSERT INTO merchant_members (merchant_id, user_id) VALUES ('{merchant}', '{user}')"
    ))
    .await;
    Actor { user: UserId(user), merchants: vec![merchant] }
}
