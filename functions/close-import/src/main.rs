//! Serves `close-import`. One connection: the step does one thing at a time.

#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::lambda::serve_step(1, close_import::handle).await
}
