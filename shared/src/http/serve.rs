//! `main` of an HTTP function: logs, configuration and clients once, then one request after the other.

use super::answer::{Answer, render};
use super::caller::request_id;
use crate::db::{Usage, outage};
use crate::lambda::App;
use crate::lambda::serve::init_logs;
use lambda_runtime::{Error, service_fn};

/// Serves the HTTP API.
pub async fn serve_http<F, Fut>(handler: F) -> Result<(), Error>
where
    F: Fn(App, lambda_http::Request) -> Fut + Sync,
    Fut: Future<Output = Answer> + Send,
{
    init_logs();
    let app = App::from_env(Usage::http()).await?;
    lambda_http::run(service_fn(|request: lambda_http::Request| {
        let (app, handler) = (app.clone(), &handler);
        async move {
            let id = request_id(&request);
            let answer = handler(app, request).await;
            if answer.is_ok() {
                outage::end();
            }
            Ok::<_, std::convert::Infallible>(render(answer, &id))
        }
    }))
    .await
}
