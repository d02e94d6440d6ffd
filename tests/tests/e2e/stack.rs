//! The stack under test: AWS clients, the HTTP API, the database.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::Credentials;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use xtask::stack::StackFile;

/// As long as anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(150);

/// Everything in `stack.json`, connected.
#[derive(Clone)]
pub struct Stack {
    pub directory: PathBuf,
    pub file: StackFile,
    pub s3: aws_sdk_s3::Client,
    pub states: aws_sdk_sfn::Client,
    pub events: aws_sdk_eventbridge::Client,
    agent: ureq::Agent,
}

/// What the API said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub request_id: Option<String>,
    pub retry_after: Option<String>,
    /// `Null` if it was no JSON.
    pub body: Value,
}

impl Stack {
    pub async fn connect() -> Self {
        let path = std::env::var("ONCELOAD_STACK")
            .expect("these tests need a running stack: `cargo xtask test --only e2e` brings one up");
        let path = PathBuf::from(path);
        let directory = path.parent().expect("stack.json lies in the stack's directory").to_path_buf();
        let file = StackFile::read(&directory).expect("stack.json");
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(file.region.clone()))
            .endpoint_url(&file.aws_endpoint_url)
            .credentials_provider(Credentials::new("test", "test", None, None, "local stack"))
            .load()
            .await;
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(35)))
            .http_status_as_error(false)
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

    /// A database connection of its own, as the role that the functions have.
    pub async fn database(&self) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.file.database_url, NoTls).await.expect("the stack's PostgreSQL");
        tokio::spawn(connection);
        client
    }

    /// The token of the first or the second demo user.
    pub fn token(&self, user: usize) -> &str {
        &self.file.users[user].token
    }

    pub async fn get(&self, token: Option<&str>, path: &str) -> Answer {
        self.ask(token, path, None).await
    }

    pub async fn post(&self, token: Option<&str>, path: &str, body: impl ToString) -> Answer {
        self.ask(token, path, Some(body.to_string())).await
    }

    async fn ask(&self, token: Option<&str>, path: &str, body: Option<String>) -> Answer {
        let url = format!("{}{path}", self.file.api_url);
        let authorization = token.map(|token| format!("Bearer {token}"));
        let agent = self.agent.clone();
        let called = tokio::task::spawn_blocking(move || {
            let mut response = match body {
                None => {
                    let mut request = agent.get(url);
                    if let Some(value) = authorization {
                        request = request.header("authorization", value);
                    }
                    request.call()?
                }
                Some(body) => {
                    let mut request = agent.post(url).header("content-type", "application/json");
                    if let Some(value) = authorization {
                        request = request.header("authorization", value);
                    }
                    request.send(body)?
                }
            };
            let header = |name: &str| {
                response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
            };
            let (content_type, request_id) =
                (header("content-type").unwrap_or_default(), header("x-request-id"));
            let retry_after = header("retry-after");
            let status = response.status().as_u16();
            let text = response.body_mut().read_to_string()?;
            let body = serde_json::from_str(&text).unwrap_or_default();
            Ok::<_, ureq::Error>(Answer { status, content_type, request_id, retry_after, body })
        });
        called.await.expect("the call").expect("an answer of the API")
    }
}

/// The rows of a query as text; NULL is empty.
pub async fn rows(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let text = |row: &tokio_postgres::SimpleQueryRow| {
        (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
    };
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(text(row)),
            _ => None,
        })
        .collect()
}

/// The only value of a query.
pub async fn value(client: &Client, sql: &str) -> String {
    let rows = rows(client, sql).await;
    rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or_default()
}

/// Asks until there is an answer, and says what it waited for if there is none in time.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(PAUSE).await;
    }
}
