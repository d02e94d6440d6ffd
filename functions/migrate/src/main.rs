//! Serves `migrate`. One connection: it holds the lock.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(1, migrate::handle).await
}
