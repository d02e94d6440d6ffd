//! Loads one CSV object into staging: S3 -> decompress -> csv-async -> validate -> binary COPY, in constant memory
//! and in one transaction, so that a file is loaded once or not at all.

mod load;
mod pipeline;

use load::FileLoad;
use pipeline::{Ending, Stop};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::db::files::{self, FileCounts, ImportFile};
use shared::db::jobs::{self, Job};
use shared::db::progress::{Part, Watch};
use shared::domain::fault::{Fault, FileFault};
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::{App, Budget};

/// One file of one attempt.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    pub attempt: i32,
    pub file_no: i32,
}

/// Where the file's records went.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Output {
    pub file_no: i32,
    #[serde(flatten)]
    pub counts: FileCounts,
}

/// How many connections to the database it holds. One loads, the other reports progress.
pub const CONNECTIONS: usize = 2;

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let mut connection = app.db.connection().await?;
    let job = jobs::expect(&connection, input.job_id, input.attempt, Status::Loading).await?;
    let Some(file) = files::find(&connection, job.id, input.file_no).await? else {
        return Err(StepError::invalid(format!("job {} has no file {}", job.id, input.file_no)));
    };
    let watch = Watch::of_step(&app.db, &job, Some(Part { step: "load", number: file.file_no }));
    let Some(load) =
        FileLoad::begin(&mut connection, &job, &file, app.config.load_concurrency, budget.left()).await?
    else {
        return read_counts(&app, &job, &file).await;
    };
    if file.is_left_out() {
        // What was loaded of it is deleted.
        return Ok(Output { file_no: file.file_no, counts: load.finish(&Ending::default()).await? });
    }
    let loaded = pipeline::run(&app, &job, &file, load, &watch, budget).await;
    drop(watch);
    match loaded {
        Ok(counts) => Ok(Output { file_no: file.file_no, counts }),
        Err(Stop::Step(error)) => Err(error),
        Err(Stop::File(fault)) => {
            drop(connection);
            Err(reject(&app, &job, &file, fault).await)
        }
    }
}

/// Reads what another loader of the file has counted.
async fn read_counts(app: &App, job: &Job, file: &ImportFile) -> StepResult<Output> {
    let connection = app.db.connection().await?;
    let loaded = files::find(&connection, job.id, file.file_no).await?;
    match loaded.and_then(|file| file.counts) {
        Some(counts) => Ok(Output { file_no: file.file_no, counts }),
        None => {
            let message = format!("{} is being loaded by another invocation", file.object.key);
            Err(StepError::new(StepErrorKind::Transient, message))
        }
    }
}

/// Notes why the file can't be loaded, in a transaction of its own: the load is rolled back.
async fn reject(app: &App, job: &Job, file: &ImportFile, fault: Fault) -> StepError {
    let named = FileFault::new(&file.object.key, fault.clone());
    let noted = async {
        let connection = app.db.connection().await?;
        let message = named.to_string();
        // `false`: the attempt is over. Then the state machine learns it from the next step.
        files::fail(&connection, job.id, job.attempt, file.file_no, &fault, &message).await?;
        jobs::append_error(&connection, job.id, job.attempt, &json!([named])).await
    };
    match noted.await {
        Ok(_) => StepError::new(StepErrorKind::FileRejected, named.to_string()),
        Err(error) => error.into(),
    }
}
