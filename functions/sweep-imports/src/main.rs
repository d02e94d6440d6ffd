//! Serves `sweep-imports`.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(sweep_imports::CONNECTIONS, sweep_imports::handle).await
}
