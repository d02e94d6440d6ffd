#[tokio::main]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::edge::serve_http(queue_processing::handle).await
}
