//! Serves `load-staging`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(load_staging::CONNECTIONS, load_staging::handle).await
}
