//! Serves `export-report`. Two connections: one reads, the other reports progress.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(2, export_report::handle).await
}
