//! `/imports/queue-processing`: `POST` starts an import for the caller, `GET` shows the caller's own import.

mod answers;
mod start;

use lambda_http::Request;
use lambda_http::http::Method;
use serde_json::json;
use shared::db::jobs::{self, Start};
use shared::db::user_profiles;
use shared::domain::ids::JobId;
use shared::domain::lease::Holder;
use shared::domain::source::{Door, SourceInfo, StartRequest};
use shared::http::{Answer, Caller, Done, Problem, identify_caller, once, read_body_of_member};
use shared::lambda::App;
use shared::lambda::metrics::{Metric, count};
use shared::source::resolve::freeze;
use start::Outcome;
use std::time::Duration;

/// The handler. Order of checks: 401, 404, 400/422, idempotency, 409.
pub async fn handle(app: App, request: Request) -> Answer {
    let caller = identify_caller(&app, &request).await?;
    match *request.method() {
        Method::GET => show(&app, &caller).await,
        _ => queue(&app, &caller, &request).await,
    }
}

/// The caller's own import, for a page that loads.
async fn show(app: &App, caller: &Caller) -> Answer {
    let connection = app.db.connection().await?;
    answers::own_import(&user_profiles::find_own(&connection, caller.user).await?)
}

/// Starts an import. 409 while another import of the user or of the merchant works and is not stuck.
async fn queue(app: &App, caller: &Caller, request: &Request) -> Answer {
    let asked: StartRequest = read_body_of_member(request, caller)?;
    let source = asked.check()?;
    let frozen = freeze(app.objects(), &app.db, &source, None).await;
    let start = Start {
        job: JobId::generate(),
        merchant: source.merchant,
        user: caller.user,
        source_info: SourceInfo {
            passed_over: frozen.as_ref().map(|frozen| frozen.passed_over.clone()).unwrap_or_default(),
            ..SourceInfo::of_request(Door::QueueProcessing, json!(asked))
        },
        files_asked: asked.files.as_deref(),
        mapping: &source.mapping,
        options: source.options,
        frozen: frozen.as_ref(),
    };
    let mut refused_by = None;
    let answer = once(app, caller, async |tx| match start::queue(tx, &start).await? {
        Outcome::Started { promises, stuck } => {
            if let Some(elapsed) = stuck {
                report_superseded(&start, elapsed);
            }
            Ok(Done { response: answers::started(start.job)?, promises })
        }
        Outcome::Held(holder) => {
            // Worded below, when the locks of this transaction are gone.
            refused_by = Some(holder);
            Err(Problem::unavailable())
        }
        Outcome::TryAgain => Err(Problem::unavailable()),
    })
    .await;
    let Some(holder) = refused_by else { return answer };
    follow_up_refusal(app, caller, &holder).await?;
    answers::held(&holder, find_eta(app, caller, &holder).await)
}

/// How long the import in the way will take for what it is doing, if that is known. The refusal stands even if this fails.
async fn find_eta(app: &App, caller: &Caller, holder: &Holder) -> Option<Duration> {
    let connection = app.db.connection().await.ok()?;
    let view = jobs::find_view(&connection, &caller.merchants, holder.job?, true).await.ok()??;
    Duration::try_from_secs_f64(view.eta_seconds?).ok()
}

fn report_superseded(start: &Start<'_>, elapsed: Duration) {
    count(Metric::SupersededImports);
    tracing::warn!(
        job_id = %start.job,
        "[QueueProcessing] Stuck import detected ({}min), allowing retry for user {}",
        answers::whole_minutes(elapsed),
        start.user
    );
}

/// What a refused request does outside of its transaction, which was rolled back.
async fn follow_up_refusal(app: &App, caller: &Caller, holder: &Holder) -> Result<(), Problem> {
    count(Metric::ImportConflicts);
    if holder.no_start {
        // `false`: the import has ended, or another refused request has started its clock.
        let started = user_profiles::start_clock(&app.db.connection().await?, caller.user).await?;
        tracing::info!(user_id = %caller.user, started, "the import in the way had no start");
    }
    Ok(())
}
