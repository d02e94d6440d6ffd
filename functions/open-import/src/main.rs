//! Serves `open-import`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(open_import::CONNECTIONS, open_import::handle).await
}
