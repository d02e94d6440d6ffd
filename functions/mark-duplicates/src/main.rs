//! Serves `mark-duplicates`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(mark_duplicates::CONNECTIONS, mark_duplicates::handle).await
}
