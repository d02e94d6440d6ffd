//! Serves `mark-duplicates`. Two connections: one marks, the other beats.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, mark_duplicates::handle).await
}
