//! Serves `migrate`. Two connections: one holds the lock and changes the schema, the other looks.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, migrate::handle).await
}
