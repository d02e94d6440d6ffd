//! The application of `cargo xtask demo --adopt`: a table of codes in the old shape, with names of its own.

use migrate::{Request, adopt};
use shared::db::Database;
use shared::lambda::Budget;
use std::time::Duration;
use tokio_postgres::Client;
use xtask::demo::adopt::REQUEST;
pub use xtask::demo::adopt::TABLES;

/// What adopts its table of codes.
pub fn request(apply: bool) -> Request {
    Request { apply, ..serde_json::from_str(REQUEST).expect("adopt.json") }
}

/// Makes the tables and adopts them.
#[allow(clippy::disallowed_methods, reason = "DDL returns no rows")]
pub async fn adopt_tables(client: &Client, db: &Database) {
    client.batch_execute(TABLES).await.expect("the application's tables");
    let answer = adopt(db, &request(true), Budget::of(Duration::from_secs(60))).await.expect("adopting");
    assert!(answer.applied && answer.problems.is_empty(), "{answer:?}");
}
