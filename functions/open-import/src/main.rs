//! Serves `open-import`. One connection: the step does one thing at a time.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(1, open_import::handle).await
}
