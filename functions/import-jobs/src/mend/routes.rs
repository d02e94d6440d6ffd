//! `POST /imports/{id}/files/{file_no}`: reads the request, freezes the object that replaces the file, and words what
//! became of it.

use super::{Change, Mended, mend};
use crate::decide::routes::answer;
use crate::show::find;
use lambda_http::Request;
use serde::Deserialize;
use shared::domain::ids::{JobId, MerchantId};
use shared::domain::key;
use shared::http::{Answer, Caller, Problem, once, read_body};
use shared::lambda::App;
use shared::source::completed::Completed;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MendBody {
    #[serde(default)]
    action: Option<Action>,
    #[serde(default)]
    key: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Replace,
    LeaveOut,
}

/// `POST /imports/{id}/files/{file_no}`
pub(crate) async fn mend_file(
    app: &App,
    caller: &Caller,
    job: JobId,
    file_no: &str,
    request: &Request,
) -> Answer {
    let found = find(app, caller, job).await?;
    // What is not a number names no file.
    let file_no: i32 = file_no.parse().map_err(|_| Problem::not_found())?;
    let key = read_replacement(found.view.merchant_id, request)?;
    let object = match &key {
        Some(key) => {
            let completed = Completed::find(&app.db, std::iter::once(key.as_str())).await?;
            Some(completed.head(app.objects(), key, None).await?)
        }
        None => None,
    };
    once(app, caller, async |tx| {
        let change = match (&key, object) {
            (_, None) => Change::LeaveOut,
            (_, Some(Ok(object))) => Change::Replace(object),
            // Said here: a request that was answered before gets that answer, whatever has become of the object.
            (key, Some(Err(fault))) => {
                return Err(at_key(format!("{}: {fault}.", key.as_deref().unwrap_or_default())));
            }
        };
        match mend(tx, caller, job, file_no, &change).await? {
            Mended::Decided(decision) => answer(tx, caller, job, decision, "mended").await,
            Mended::KeyTaken => {
                Err(at_key("Another file of the import has this key. Upload the file under a new one."))
            }
            Mended::LastFile => Err(Problem::conflict(
                "last-file",
                "Last file",
                "The import has no other file, so this one can't be left out. Replace it, or cancel the import.",
            )),
        }
    })
    .await
}

/// The key of the object that replaces the file; `None`: it is left out.
fn read_replacement(merchant: MerchantId, request: &Request) -> Result<Option<String>, Problem> {
    let MendBody { action, key } = read_body(request)?;
    let key = match (action, key) {
        (None, _) => {
            return Err(Problem::unprocessable("/action", "It must be \"replace\" or \"leave_out\"."));
        }
        (Some(Action::LeaveOut), None) => return Ok(None),
        (Some(Action::LeaveOut), Some(_)) => return Err(at_key("A file that is left out has no `key`.")),
        (Some(Action::Replace), None) => return Err(at_key("Give the `key` of the file that replaces it.")),
        (Some(Action::Replace), Some(key)) => key,
    };
    if !key.starts_with(&format!("uploads/{merchant}/")) {
        return Err(at_key(format!("It must begin with uploads/{merchant}/.")));
    }
    key::check_key(merchant, &key).map_err(|error| at_key(format!("{error}.")))?;
    Ok(Some(key))
}

fn at_key(detail: impl Into<String>) -> Problem {
    Problem::unprocessable("/key", detail)
}
