//! `POST /uploads` and `POST /uploads/{id}/complete`: links for one object of one size, and whether that came.

use futures_util::{StreamExt, TryStreamExt, stream};
use lambda_http::Request;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{HeaderValue, LOCATION};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::db::decisions::Actor;
use shared::db::pool::client;
use shared::db::uploads::{self, NewUpload, Standing, Upload};
use shared::domain::ids::MerchantId;
use shared::domain::upload::{self, UploadError};
use shared::edge::App;
use shared::edge::http::{Answer, Problem, body, body_of_member, json};
use shared::edge::uploads::Part;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Links are signed by arithmetic alone; this only keeps one request from holding the thread.
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

/// `POST /uploads`: 201 with a link, or one for each part. The same again by the same user, of an upload that is not
/// complete, is the same upload with fresh links.
pub async fn declare(app: &App, actor: &Actor, request: &Request) -> Answer {
    let body: DeclareBody = body_of_member(request, actor)?;
    let id = Uuid::now_v7();
    let plan = upload::plan(body.merchant_id, id, &body.name, body.size, body.batch.as_deref())
        .map_err(|error: UploadError| Problem::unprocessable(error.pointer(), format!("{error}.")))?;
    let new = NewUpload {
        id,
        merchant: body.merchant_id,
        user: actor.user,
        key: &plan.key,
        size: plan.size.cast_signed(),
        part_size: plan.part_size.map(u64::cast_signed),
        lifetime: plan.lifetime(),
    };
    let connection = app.db.connection().await?;
    let declared = uploads::declare(client(&connection), &new).await?;
    drop(connection);
    let declared = declared.ok_or_else(name_taken)?;
    let links = links(app, &declared).await?;
    let mut answer = json(StatusCode::CREATED, &links)?;
    if let Ok(location) = HeaderValue::from_str(&format!("/uploads/{}", declared.id)) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

async fn links(app: &App, upload: &Upload) -> Result<Value, Problem> {
    let size = upload.size.cast_unsigned();
    let lifetime = upload::lifetime(size);
    let mut links = json!({
        "upload_id": upload.id,
        "key": upload.key,
        "size": upload.size,
        "method": "PUT",
        "expires_at": upload.expires_at,
    });
    let Some(part_size) = upload.part_size else {
        links["url"] = json!(app.objects().put_link(&upload.key, size, lifetime).await?);
        return Ok(links);
    };
    let multipart_id = multipart_id(app, upload).await?;
    let parts: Vec<Value> = stream::iter(upload::parts(size, part_size.cast_unsigned()).zip(1..))
        .map(|(bytes, number)| {
            let id = multipart_id.as_str();
            async move {
                let url = app.objects().part_link(&upload.key, id, number, bytes, lifetime).await?;
                Ok::<_, Problem>(json!({ "number": number, "size": bytes, "url": url }))
            }
        })
        .buffered(SIGNATURES)
        .try_collect()
        .await?;
    links["part_size"] = json!(part_size);
    links["parts"] = json!(parts);
    Ok(links)
}

/// S3's id of the multipart upload, begun if it is not. Of two that begin it at the same time one gives way.
async fn multipart_id(app: &App, upload: &Upload) -> Result<String, Problem> {
    if let Some(id) = &upload.multipart_id {
        return Ok(id.clone());
    }
    let begun = app.objects().begin_multipart(&upload.key).await?;
    let connection = app.db.connection().await?;
    let stands = uploads::set_multipart(client(&connection), upload.id, &begun).await?;
    drop(connection);
    if stands.as_ref() != Some(&begun) {
        app.objects().abort(&upload.key, &begun).await?;
    }
    stands.ok_or_else(name_taken)
}

fn name_taken() -> Problem {
    Problem::conflict(
        "name-taken",
        "Name taken",
        "The batch has a file of this name already. Choose another name or another batch.",
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteBody {
    #[serde(default)]
    parts: Vec<SentPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentPart {
    number: i32,
    etag: String,
}

/// `POST /uploads/{id}/complete`: 201 if what came is what was declared. Twice is once.
pub async fn complete(app: &App, actor: &Actor, id: Uuid, request: &Request) -> Answer {
    let connection = app.db.connection().await?;
    let found = uploads::find(client(&connection), id, &actor.merchants).await?;
    drop(connection);
    let (upload, standing) = found.ok_or_else(Problem::not_found)?;
    let CompleteBody { parts } =
        if request.body().is_empty() { CompleteBody { parts: Vec::new() } } else { body(request)? };
    match standing {
        Standing::Completed { version_id } => return completed(&upload, version_id),
        Standing::Rejected => return Err(rejected()),
        Standing::Expired => {
            return Err(Problem::conflict(
                "upload-expired",
                "Upload expired",
                "The links of this upload have run out. Declare it again and send it again.",
            ));
        }
        Standing::Open => {}
    }
    match &upload.multipart_id {
        Some(multipart_id) => join(app, &upload, multipart_id, &parts).await?,
        None if upload.part_size.is_some() => return Err(nothing_came()),
        None if !parts.is_empty() => {
            return Err(Problem::unprocessable("/parts", "This upload is one PUT and has no parts."));
        }
        None => {}
    }
    let Some(object) = app.objects().head(&upload.key, None).await? else {
        return Err(nothing_came());
    };
    let connection = app.db.connection().await?;
    if object.bytes != upload.size {
        if uploads::reject(client(&connection), upload.id).await? {
            app.objects().remove(&object).await?;
        }
        return Err(wrong_size("", object.bytes, upload.size));
    }
    let stands = uploads::complete(client(&connection), upload.id, object.version_id.as_deref()).await?;
    completed(&upload, stands.ok_or_else(rejected)?)
}

/// Makes the object of the parts. Done already is done.
async fn join(app: &App, upload: &Upload, multipart_id: &str, sent: &[SentPart]) -> Result<(), Problem> {
    // Joined by a call that did not live to say so: the object itself is looked at next.
    let Some(there) = app.objects().parts(&upload.key, multipart_id).await? else { return Ok(()) };
    let chosen = choose(&there, sent)?;
    let sum: i64 = chosen.iter().map(|part| part.bytes).sum();
    if sum != upload.size {
        let connection = app.db.connection().await?;
        let open = uploads::reject(client(&connection), upload.id).await?;
        drop(connection);
        if open {
            app.objects().abort(&upload.key, multipart_id).await?;
        }
        return Err(wrong_size("/parts", sum, upload.size));
    }
    app.objects().join(&upload.key, multipart_id, &chosen).await?;
    Ok(())
}

/// Those of the parts that the caller names, as they name them.
fn choose(there: &[Part], sent: &[SentPart]) -> Result<Vec<Part>, Problem> {
    if sent.is_empty() {
        return Err(Problem::unprocessable("/parts", "It names no part: give the number and etag of each."));
    }
    let there: BTreeMap<i32, &Part> = there.iter().map(|part| (part.number, part)).collect();
    let mut chosen: BTreeMap<i32, Part> = BTreeMap::new();
    for (at, part) in sent.iter().enumerate() {
        let found = there.get(&part.number).filter(|found| bare(&found.etag) == bare(&part.etag));
        let Some(found) = found else {
            let detail = format!("S3 has no part {} with this etag.", part.number);
            return Err(Problem::unprocessable(&format!("/parts/{at}"), detail));
        };
        if chosen.insert(part.number, (*found).clone()).is_some() {
            let detail = format!("Part {} is named twice.", part.number);
            return Err(Problem::unprocessable(&format!("/parts/{at}"), detail));
        }
    }
    Ok(chosen.into_values().collect())
}

fn bare(etag: &str) -> &str {
    etag.trim_matches('"')
}

fn completed(upload: &Upload, version_id: Option<String>) -> Answer {
    let done = json!({
        "upload_id": upload.id,
        "key": upload.key,
        "size": upload.size,
        "version_id": version_id,
        "status": "completed",
    });
    json(StatusCode::CREATED, &done)
}

fn nothing_came() -> Problem {
    Problem::unprocessable("", "Nothing has been sent to the links of this upload yet.")
}

fn rejected() -> Problem {
    Problem::unprocessable(
        "",
        "What was sent was not of the declared size, and has been removed. Start again.",
    )
}

fn wrong_size(pointer: &str, found: i64, declared: i64) -> Problem {
    Problem::unprocessable(
        pointer,
        format!("{found} bytes were sent, {declared} were declared. They have been removed; start again."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_that_came() {
        let there = [1, 2].map(|number| Part { number, etag: format!("\"e{number}\""), bytes: 5 });
        let sent = |parts: &[(i32, &str)]| -> Vec<SentPart> {
            parts.iter().map(|(number, etag)| SentPart { number: *number, etag: (*etag).into() }).collect()
        };
        let both = choose(&there, &sent(&[(2, "e2"), (1, "\"e1\"")])).expect("both");
        assert_eq!(both.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2], "in S3's order");
        for bad in [vec![], vec![(3, "e3")], vec![(1, "e2")], vec![(1, "e1"), (1, "e1")]] {
            assert!(choose(&there, &sent(&bad)).is_err(), "{bad:?}");
        }
    }
}
