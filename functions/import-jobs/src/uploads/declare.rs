//! `POST /uploads`: checks what is declared, and signs one link, or one for each part.

use super::rules::{self, UploadError};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};
use shared::db::uploads::{self, NewUpload, Upload};
use shared::domain::actor::Actor;
use shared::domain::ids::MerchantId;
use shared::http::{Answer, Problem, json_answer, read_body_of_member};
use shared::lambda::App;
use shared::s3::uploads::ONCE;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many links are signed at a time. Signing is arithmetic; the bound keeps one request from holding the thread.
const SIGNATURES: usize = 16;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclareBody {
    merchant_id: MerchantId,
    name: String,
    size: u64,
    #[serde(default)]
    batch: Option<String>,
}

/// An upload and where to send it.
#[derive(Serialize)]
struct Declared<'a> {
    upload_id: Uuid,
    key: &'a str,
    size: i64,
    method: &'static str,
    expires_at: DateTime<Utc>,
    #[serde(flatten)]
    links: Links,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Links {
    /// `headers`: what the request must send besides; they are signed.
    Whole {
        url: String,
        headers: BTreeMap<&'static str, &'static str>,
    },
    Parts {
        part_size: i64,
        parts: Vec<PartLink>,
    },
}

#[derive(Serialize)]
struct PartLink {
    number: i32,
    size: u64,
    url: String,
}

/// `POST /uploads`: 201. The same declaration again by the same user, while the upload is not complete, is the same
/// upload with fresh links.
pub(crate) async fn declare(app: &App, actor: &Actor, request: &Request) -> Answer {
    let body: DeclareBody = read_body_of_member(request, actor)?;
    let id = Uuid::now_v7();
    let plan = rules::plan(body.merchant_id, id, &body.name, body.size, body.batch.as_deref())
        .map_err(|error: UploadError| Problem::unprocessable(error.pointer(), format!("{error}.")))?;
    let new = NewUpload {
        id,
        merchant: body.merchant_id,
        user: actor.user,
        key: &plan.key,
        size: plan.size.cast_signed(),
        part_size: plan.part_size.map(u64::cast_signed),
        lifetime: rules::link_lifetime(plan.size),
    };
    let connection = app.db.connection().await?;
    let declared = uploads::declare(&connection, &new).await?;
    drop(connection);
    let upload = match declared {
        uploads::Declared::Open(upload) => upload,
        uploads::Declared::KeyTaken => return Err(name_taken()),
        uploads::Declared::TooMany { seconds } => return Err(too_many(seconds)),
    };
    let declared = Declared {
        upload_id: upload.id,
        key: &upload.key,
        size: upload.size,
        method: "PUT",
        expires_at: upload.expires_at,
        links: sign_links(app, &upload).await?,
    };
    let mut answer = json_answer(StatusCode::CREATED, &declared)?;
    if let Ok(location) = HeaderValue::from_str(&format!("/uploads/{}", upload.id)) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

async fn sign_links(app: &App, upload: &Upload) -> Result<Links, Problem> {
    let size = upload.size.cast_unsigned();
    let lifetime = rules::link_lifetime(size);
    let Some(part_size) = upload.part_size else {
        let url = app.objects().put_link(&upload.key, size, lifetime).await?;
        return Ok(Links::Whole { url, headers: BTreeMap::from([ONCE]) });
    };
    let multipart_id = begin_multipart(app, upload).await?;
    let parts = stream::iter(rules::part_sizes(size, part_size.cast_unsigned()).zip(1..))
        .map(|(size, number)| {
            let multipart_id = multipart_id.as_str();
            async move {
                let url = app.objects().part_link(&upload.key, multipart_id, number, size, lifetime).await?;
                Ok::<_, Problem>(PartLink { number, size, url })
            }
        })
        .buffered(SIGNATURES)
        .try_collect()
        .await?;
    Ok(Links::Parts { part_size, parts })
}

/// S3's id of the multipart upload, which is begun unless it was before. If two requests begin it at the same time, the
/// database decides which one counts, and the other is aborted.
async fn begin_multipart(app: &App, upload: &Upload) -> Result<String, Problem> {
    if let Some(id) = &upload.multipart_id {
        return Ok(id.clone());
    }
    let begun = app.objects().begin_multipart(&upload.key).await?;
    let connection = app.db.connection().await?;
    let recorded = uploads::set_multipart(&connection, upload.id, &begun).await?;
    drop(connection);
    if recorded.as_ref() != Some(&begun) {
        app.objects().abort(&upload.key, &begun).await?;
    }
    recorded.ok_or_else(name_taken)
}

fn too_many(seconds: u64) -> Problem {
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-uploads",
        "Too many uploads",
        "Too many declared uploads wait to be sent. Send and complete them, or wait until their links have run out.",
    );
    problem.retry_after = Some(seconds);
    problem
}

fn name_taken() -> Problem {
    Problem::conflict(
        "name-taken",
        "Name taken",
        "The batch already has a file of this name. Choose another name or another batch.",
    )
}
