//! `POST /migrations/run`: starts an import with an explicit mapping. The same content with the same mapping, while a
//! run of it is active, is that run.

use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shared::db::claims::{self, Migration, Start};
use shared::db::files::FrozenObject;
use shared::domain::fault::FaultReason;
use shared::domain::ids::{JobId, MerchantId, UserId};
use shared::domain::source::{Mapping, Source, StartRequest};
use shared::edge::deliver::deliver_promised;
use shared::edge::http::{Answer, Caller, Problem, body_of_member, caller, json, try_again};
use shared::edge::sources::{hex, sha256};
use shared::edge::start::{freeze, info, status_url};
use shared::edge::{App, Done, once};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    merchant_id: MerchantId,
    file: String,
    mapping: Mapping,
}

/// The handler.
pub async fn handle(app: App, request: Request) -> Answer {
    let caller = caller(&app, &request).await?;
    let body: RunBody = body_of_member(&request, &caller)?;
    if body.mapping.is_empty() {
        return Err(Problem::unprocessable("/mapping", "Name a header for one field at least: `code`."));
    }
    let asked = StartRequest {
        merchant_id: body.merchant_id,
        files: Some(vec![body.file]),
        prefix: None,
        mapping: Some(canonical(body.mapping)),
        options: None,
    };
    let source = asked.check().map_err(|error| match Problem::from(error) {
        // The request has one file, not a list.
        mut problem if problem.members["errors"][0]["pointer"] == "/files/0" => {
            problem.members["errors"][0]["pointer"] = "/file".into();
            problem
        }
        problem => problem,
    })?;
    run(&app, &caller, &asked, &source).await
}

async fn run(app: &App, caller: &Caller, asked: &StartRequest, source: &Source) -> Answer {
    let key = asked.files.as_ref().and_then(|files| files.first()).map_or("", String::as_str);
    let found = match app.objects().head_checksum(key).await.map_err(Problem::from)? {
        None => None,
        Some((object, checksum)) => {
            let base = base_key(caller.user, source, &object, checksum.as_deref());
            let frozen = freeze(app, source, object.version_id.as_deref()).await;
            Some((base, object.version_id, frozen))
        }
    };
    let mut running = false;
    let answer = once(app, caller, async |tx| {
        // In here, so that a run that was answered is answered the same after its file has gone.
        let Some((base, version, frozen)) = &found else { return Err(missing(key)) };
        let start = Start {
            job: JobId::generate(),
            merchant: source.merchant,
            user: caller.user,
            source_info: info(asked, "run-migration", version.as_deref()),
            mapping: &source.mapping,
            options: source.options,
            frozen: frozen.as_ref(),
        };
        match claims::run_migration(tx, &start, base).await? {
            Migration::Started { messages } => {
                let answer = json!({
                    "jobId": start.job, "status": "pending", "statusUrl": status_url(start.job),
                });
                Ok(Done { response: json(StatusCode::ACCEPTED, &answer)?, messages })
            }
            Migration::Running(job) => {
                running = true;
                let answer = json!({ "jobId": job, "message": "Job already in progress" });
                Ok(json(StatusCode::OK, &answer)?.into())
            }
            Migration::TryAgain => Err(try_again()),
        }
    })
    .await;
    if running {
        deliver_promised(app).await;
    }
    answer
}

fn missing(key: &str) -> Problem {
    let advice = FaultReason::MissingObject.advice();
    Problem::unprocessable("/file", format!("missing_object: there is no `{key}`; {advice}."))
}

/// Headers are matched whatever their case and outer space: so are mappings compared.
fn canonical(mapping: Mapping) -> Mapping {
    mapping.into_iter().map(|(field, header)| (field, header.trim().to_lowercase())).collect()
}

/// (user, merchant, mapping, content), without a time: what is the same run. The content is S3's checksum of the whole
/// object where it has one, else its ETag and size.
fn base_key(user: UserId, source: &Source, object: &FrozenObject, checksum: Option<&str>) -> String {
    let content = match checksum {
        Some(checksum) => json!([checksum, object.bytes]),
        None => json!([object.etag, object.bytes]),
    };
    hex(&sha256(json!([user, source.merchant, source.mapping, content]).to_string().as_bytes()))
}
