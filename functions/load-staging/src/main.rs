//! Serves `load-staging`. Two connections: one loads, the other reports progress.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, load_staging::handle).await
}
