//! `POST /uploads/{id}/complete`: checks that what came is what was declared.

use lambda_http::Request;
use lambda_http::http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use shared::db::uploads::{self, Upload, UploadStatus};
use shared::domain::actor::Actor;
use shared::http::{Answer, Problem, json_answer, read_body};
use shared::lambda::App;
use shared::s3::uploads::Part;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Default, Deserialize)]
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

/// `POST /uploads/{id}/complete`: 201 if what came is what was declared. Repeating the request is harmless.
pub(crate) async fn complete(app: &App, actor: &Actor, id: Uuid, request: &Request) -> Answer {
    let connection = app.db.connection().await?;
    let found = uploads::find(&connection, id, &actor.merchants).await?;
    drop(connection);
    let (upload, status) = found.ok_or_else(Problem::not_found)?;
    let CompleteBody { parts } =
        if request.body().is_empty() { CompleteBody::default() } else { read_body(request)? };
    match status {
        UploadStatus::Completed { version_id } => return completed(&upload, version_id),
        UploadStatus::Rejected => return Err(rejected()),
        UploadStatus::Expired => return Err(expired()),
        UploadStatus::Open => {}
    }
    match &upload.multipart_id {
        Some(multipart_id) => join(app, &upload, multipart_id, &parts).await?,
        None if upload.part_size.is_some() => return Err(nothing_came()),
        None if !parts.is_empty() => {
            return Err(Problem::unprocessable("/parts", "This upload is one PUT and has no parts."));
        }
        None => {}
    }
    check_object(app, &upload).await
}

/// Makes the object of the parts, unless that is done already.
async fn join(app: &App, upload: &Upload, multipart_id: &str, sent: &[SentPart]) -> Result<(), Problem> {
    let Some(stored) = app.objects().parts(&upload.key, multipart_id).await? else {
        // The call that joined the parts died before it recorded that. The object itself is checked next.
        return Ok(());
    };
    let chosen = choose(&stored, sent)?;
    let sum: i64 = chosen.iter().map(|part| part.bytes).sum();
    if sum != upload.size {
        if reject(app, upload).await? {
            app.objects().abort(&upload.key, multipart_id).await?;
        }
        return Err(wrong_size("/parts", sum, upload.size));
    }
    // `false`: another call has joined them meanwhile, or an object came another way. The object is checked next in any case.
    app.objects().join(&upload.key, multipart_id, &chosen).await?;
    Ok(())
}

/// Records the object that came, or removes it if it is not of the declared size.
async fn check_object(app: &App, upload: &Upload) -> Answer {
    let object = app.objects().head(&upload.key, None).await?.map_err(|_| nothing_came())?;
    if object.bytes != upload.size {
        if reject(app, upload).await? {
            app.objects().remove(&object).await?;
        }
        return Err(wrong_size("", object.bytes, upload.size));
    }
    let connection = app.db.connection().await?;
    let recorded = uploads::complete(&connection, upload.id, &object).await?;
    completed(upload, recorded.ok_or_else(rejected)?)
}

/// `false`: another call has decided, so what came is not ours to remove.
async fn reject(app: &App, upload: &Upload) -> Result<bool, Problem> {
    let connection = app.db.connection().await?;
    Ok(uploads::reject(&connection, upload.id).await?)
}

/// The stored parts that the caller names by number and etag, in order of their numbers.
fn choose(stored: &[Part], sent: &[SentPart]) -> Result<Vec<Part>, Problem> {
    if sent.is_empty() {
        return Err(Problem::unprocessable("/parts", "No part is named: give the number and etag of each."));
    }
    let stored: BTreeMap<i32, &Part> = stored.iter().map(|part| (part.number, part)).collect();
    let mut chosen: BTreeMap<i32, Part> = BTreeMap::new();
    for (index, part) in sent.iter().enumerate() {
        let found = stored.get(&part.number).filter(|found| unquoted(&found.etag) == unquoted(&part.etag));
        let Some(found) = found else {
            let detail = format!("S3 has no part {} with this etag.", part.number);
            return Err(Problem::unprocessable(&format!("/parts/{index}"), detail));
        };
        if chosen.insert(part.number, (*found).clone()).is_some() {
            let detail = format!("Part {} is named twice.", part.number);
            return Err(Problem::unprocessable(&format!("/parts/{index}"), detail));
        }
    }
    Ok(chosen.into_values().collect())
}

/// S3 says etags in quotes; clients may leave them out.
fn unquoted(etag: &str) -> &str {
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
    json_answer(StatusCode::CREATED, &done)
}

fn nothing_came() -> Problem {
    Problem::unprocessable("", "Nothing has been sent to the links of this upload yet.")
}

fn expired() -> Problem {
    Problem::conflict(
        "upload-expired",
        "Upload expired",
        "The links of this upload have expired. Declare it again and send it again.",
    )
}

fn rejected() -> Problem {
    Problem::unprocessable(
        "",
        "What was sent did not have the declared size and has been removed. Start again.",
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
    fn chooses_only_parts_that_came_each_once_in_order() {
        let stored = [1, 2].map(|number| Part { number, etag: format!("\"e{number}\""), bytes: 5 });
        let sent = |parts: &[(i32, &str)]| -> Vec<SentPart> {
            parts.iter().map(|(number, etag)| SentPart { number: *number, etag: (*etag).into() }).collect()
        };
        let both = choose(&stored, &sent(&[(2, "e2"), (1, "\"e1\"")])).expect("both");
        assert_eq!(both.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2], "in S3's order");
        for bad in [vec![], vec![(3, "e3")], vec![(1, "e2")], vec![(1, "e1"), (1, "e1")]] {
            assert!(choose(&stored, &sent(&bad)).is_err(), "{bad:?}");
        }
    }
}
