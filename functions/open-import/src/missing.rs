//! Files that could not be had when their import was frozen. Each has its place among the others, without a version. Reading the
//! headers names them; a retry looks for them once more, unless a person has replaced them or left them out.

use crate::freeze::name_active;
use futures_util::{StreamExt, TryStreamExt, stream};
use shared::db::Limits;
use shared::db::files::{self, ImportFile};
use shared::db::jobs::{self, Job};
use shared::domain::fault::Fault;
use shared::domain::object::FrozenObject;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepResult};
use shared::lambda::App;
use shared::source::completed::Completed;
use shared::source::resolve::fingerprint;
use std::collections::BTreeMap;

/// HEAD requests under way at a time.
const LOOKS: usize = 16;

/// What became of the files that were missing.
pub(crate) struct Looked {
    /// Some are frozen now: the files are to be listed again.
    pub any_found: bool,
    /// Why others still can't be had, by their numbers.
    pub faults: BTreeMap<i32, Fault>,
}

/// Freezes those of these files that were missing and are there now.
pub(crate) async fn look_again(app: &App, job: &Job, listed: &[ImportFile]) -> StepResult<Looked> {
    let version = job.source_info.version_id.as_deref();
    let missing = || listed.iter().filter(|file| file.object.is_missing() && !file.is_left_out());
    let completed = &Completed::find(&app.db, missing().map(|file| file.object.key.as_str())).await?;
    let looks: Vec<(i32, Result<FrozenObject, Fault>)> = stream::iter(missing())
        .map(async |file| {
            let object = completed.head(app.objects(), &file.object.key, version).await?;
            Ok::<_, StepError>((file.file_no, object))
        })
        .buffered(LOOKS)
        .try_collect()
        .await?;
    let (mut found, mut faults) = (Vec::new(), BTreeMap::new());
    for (file_no, object) in looks {
        match object {
            Ok(object) => found.push((file_no, object)),
            Err(fault) => drop(faults.insert(file_no, fault)),
        }
    }
    if !found.is_empty() {
        freeze(app, job, &found).await?;
    }
    Ok(Looked { any_found: !found.is_empty(), faults })
}

async fn freeze(app: &App, job: &Job, found: &[(i32, FrozenObject)]) -> StepResult<()> {
    let mut connection = app.db.connection().await?;
    let tx = connection.begin("open.missing", Limits::short()).await?;
    for (file_no, object) in found {
        // `false`: a ghost of this very step was quicker; its version is the one.
        files::freeze_missing(&tx, job.id, *file_no, object).await?;
    }
    let fingerprint = fingerprint(&files::list_sources(&tx, job.id).await?, &job.mapping);
    match jobs::freeze_again(&tx, job, &fingerprint).await {
        Ok(true) => Ok(tx.commit().await?),
        Ok(false) => {
            let refusal = jobs::explain_refusal(&tx, job.id, job.attempt, Status::Loading).await;
            tx.rollback().await?;
            Err(refusal)
        }
        Err(error) if jobs::is_active_source(&error) => {
            tx.rollback().await?;
            Err(name_active(jobs::find_active_source(&connection, job.merchant, &fingerprint).await?))
        }
        Err(error) => Err(error.into()),
    }
}
