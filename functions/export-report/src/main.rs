//! Serves `export-report`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(export_report::CONNECTIONS, export_report::handle).await
}
