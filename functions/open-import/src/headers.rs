//! Reads the head of every file. A fault in one of them stops the import before anything is staged.

use crate::sample::{Inspected, inspect};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use shared::db::adoption;
use shared::db::files::{self, ImportFile};
use shared::db::jobs::{self, Job};
use shared::domain::fault::{Fault, FileFault, SHOWN_FAULTS, summarize};
use shared::domain::layout::{Density, Layout};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::App;
use std::collections::BTreeMap;

/// Range requests under way at a time.
const READS: usize = 8;
/// With more files than this the heads alone are sample enough.
const PROBED_FILES: usize = 200;

/// What the heads of files tell.
pub(crate) struct Heads {
    /// A sample of their codes.
    pub(crate) sample: Vec<String>,
    /// How dense each is, by the file's number.
    pub(crate) densities: BTreeMap<i32, Density>,
}

/// Reads the headers of these files, and keeps the layouts. `missing`: those that
/// can't be had; `of`: the files of the import.
pub(crate) async fn inspect_all(
    app: &App,
    job: &Job,
    listed: &[&ImportFile],
    missing: &BTreeMap<i32, Fault>,
    of: usize,
) -> StepResult<Heads> {
    let probe = listed.len() <= PROBED_FILES;
    // Who names a file says what it is; what lies in a folder says it by its name.
    let is_folder = job.source_info.request.contains_key("prefix");
    let destination = adoption::find_destination(&app.db.connection().await?).await?;
    let inspected: Vec<_> = stream::iter(listed)
        .map(|file| async move {
            // A person has named what replaces a file.
            let misnamed =
                Fault::unknown_name(&file.object.key).filter(|_| is_folder && file.replaces.is_none());
            let inspected = match missing.get(&file.file_no).cloned().or(misnamed) {
                Some(fault) => Err(fault),
                None => inspect(app.objects(), &file.object, &job.mapping, probe).await?,
            };
            Ok::<_, StepError>((file, inspected))
        })
        .buffered(READS)
        .try_collect()
        .await?;
    let mut faults = Vec::new();
    let mut layouts: Vec<(i32, Layout)> = Vec::new();
    let mut sample = Vec::new();
    for (file, inspected) in inspected {
        match inspected {
            Ok(Inspected { layout, sample: codes }) => {
                layouts.push((file.file_no, layout.bound_for(&destination)));
                sample.extend(codes);
            }
            Err(fault) => faults.push((file.file_no, fault)),
        }
    }
    if !faults.is_empty() {
        let named: Vec<FileFault> = faults
            .iter()
            .filter_map(|(number, fault)| {
                let file = listed.iter().find(|file| file.file_no == *number)?;
                Some(FileFault::new(&file.object.key, fault.clone()))
            })
            .collect();
        let connection = app.db.connection().await?;
        for ((number, fault), named) in faults.iter().zip(&named) {
            // `false`: the attempt is over. Then the state machine learns it from the next step.
            files::fail(&connection, job.id, job.attempt, *number, fault, &named.to_string()).await?;
        }
        drop(connection);
        return Err(record_rejected(app, job, named, of).await);
    }
    let connection = app.db.connection().await?;
    if !files::set_layouts(&connection, job.id, job.attempt, &layouts).await? {
        return Err(jobs::explain_refusal(&connection, job.id, job.attempt, job.status).await);
    }
    let dense = layouts.iter().filter_map(|(number, layout)| Some((*number, layout.density?)));
    Ok(Heads { sample, densities: dense.collect() })
}

/// Notes the faults on the job, and returns the error that names them.
async fn record_rejected(app: &App, job: &Job, faults: Vec<FileFault>, of: usize) -> StepError {
    let noted = async {
        let connection = app.db.connection().await?;
        // `false`: the attempt is over. Then the state machine learns it from the next step.
        jobs::add_errors(&connection, job.id, job.attempt, &json!(&faults[..faults.len().min(SHOWN_FAULTS)]))
            .await
    };
    if let Err(error) = noted.await {
        return error.into();
    }
    StepError::new(StepErrorKind::FileRejected, summarize(&faults, of))
}
