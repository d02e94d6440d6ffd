//! Serves `migrate`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(migrate::CONNECTIONS, migrate::handle).await
}
