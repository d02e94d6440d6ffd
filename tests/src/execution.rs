//! Runs an import through the functions as `statemachine/import.asl.json` does, one state at a time, so that a test can
//! stop anywhere, repeat a step or change something in between. A test compares the error transitions with the state
//! machine's.

mod closing;

use crate::db::TestDb;
use crate::fixture::World;
use serde_json::{Value, json};
use shared::domain::actor::Actor;
use shared::domain::ids::JobId;
use shared::domain::status::Status;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::domain::token::TokenOrder;
use shared::lambda::{App, Budget};
use std::time::Duration;
use uuid::Uuid;

/// The states of the state machine, under their names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    LoadFiles,
    PlanChunks,
    MarkDuplicates,
    Validate,
    WaitForApproval,
    InsertCodes,
    Verify,
    Close,
    TidyUp,
    CloseEmpty,
    /// Another import of the merchant is at work, or first in line. The execution sleeps; once it is woken, the state machine opens
    /// the import again.
    WaitForMerchant,
    /// The import goes on in the next attempt, in another execution.
    Continue,
    NothingToDo,
    Done,
}

impl State {
    /// The states that call a function, which may fail.
    pub const TASKS: [Self; 13] = [
        Self::Open,
        Self::LoadFiles,
        Self::PlanChunks,
        Self::MarkDuplicates,
        Self::Validate,
        Self::WaitForApproval,
        Self::InsertCodes,
        Self::Verify,
        Self::Close,
        Self::TidyUp,
        Self::CloseEmpty,
        Self::WaitForMerchant,
        Self::Continue,
    ];

    /// The state that catches the error; `None` stands for `CloseStopped`.
    pub fn state_after_error(self, kind: StepErrorKind) -> Option<Self> {
        use State::*;
        match (self, kind) {
            (
                PlanChunks | MarkDuplicates | Validate | WaitForApproval | InsertCodes,
                StepErrorKind::StagingLost,
            ) => Some(Continue),
            (Validate | WaitForApproval | InsertCodes, StepErrorKind::CountMismatch) => Some(PlanChunks),
            (TidyUp, _) => Some(Done),
            _ => None,
        }
    }
}

/// How an execution ended.
#[derive(Debug)]
pub enum Ended {
    /// Before this state, which has not run.
    At(State),
    /// A step failed for good, and `close-import` has closed the job.
    Stopped { error: StepError, status: Option<Status> },
}

impl Ended {
    /// The error that ended the execution.
    pub fn error(self) -> StepError {
        match self {
            Self::Stopped { error, .. } => error,
            Self::At(state) => panic!("the import went on to {state:?}"),
        }
    }

    pub fn expect(self, expected: State) {
        match self {
            Self::At(state) if state == expected => {}
            other => panic!("expected to be at {expected:?}: {other:?}"),
        }
    }
}

/// One execution of the state machine.
#[derive(Clone)]
pub struct Run {
    pub app: App,
    pub input: Value,
    pub execution_arn: String,
    pub job: JobId,
    pub attempt: i32,
    pub files: Vec<i32>,
    pub chunks: Vec<i32>,
    pub clean: i64,
    pub token: String,
    /// Which call of a waiting state brings the token; `None`, as a definition without an order has it.
    pub token_order: Option<TokenOrder>,
    pub at: State,
}

/// The longest time that a Lambda function may run, less a margin.
pub fn budget() -> Budget {
    Budget::of(Duration::from_secs(890))
}

impl Run {
    /// An execution that has not started.
    pub fn new(app: &App, input: Value) -> Self {
        let name = Uuid::now_v7();
        Self {
            app: app.clone(),
            input,
            execution_arn: format!("arn:aws:states:eu-central-1:000000000000:execution:import:{name}"),
            job: JobId(Uuid::nil()),
            attempt: 0,
            files: Vec::new(),
            chunks: Vec::new(),
            clean: 0,
            token: format!("token-{name}"),
            token_order: None,
            at: State::Open,
        }
    }

    /// The execution that EventBridge starts for an upload.
    pub fn of_upload(app: &App, key: &str, version_id: &str) -> Self {
        Self::new(app, upload_event(app.objects().bucket(), key, version_id))
    }

    /// The execution that the outbox starts for a retry.
    pub fn of_job(app: &App, job: JobId, attempt: i32) -> Self {
        Self::new(app, json!({ "job_id": job, "attempt": attempt }))
    }

    /// The same execution on an `App` with connections of its own, as another Lambda environment has.
    pub fn with_own_connections(&self, world: &World) -> Self {
        Self { app: world.app_with_pool(2), ..self.clone() }
    }

    /// Runs until `stop` is the next state and handles errors as the state machine does.
    pub async fn until(&mut self, stop: State) -> Ended {
        // The database bounds how often an import goes back; this bound stops a defect.
        for _ in 0..40 {
            if self.at == stop || matches!(self.at, State::Done | State::NothingToDo) {
                return Ended::At(self.at);
            }
            let state = self.at;
            match self.step().await {
                // It sleeps until it is woken: the caller sees to that.
                Ok(State::Open) if state == State::WaitForMerchant => return Ended::At(state),
                Ok(next) => self.at = next,
                Err(error) => match state.state_after_error(error.kind) {
                    Some(next) => self.at = next,
                    None => {
                        let status = self.close_stopped(&error).await.expect("close-import");
                        return Ended::Stopped { error, status };
                    }
                },
            }
        }
        panic!("the execution goes in circles at {:?}", self.at);
    }

    /// Runs the next state and returns the one that follows. The caller approves the import.
    pub async fn step(&mut self) -> StepResult<State> {
        match self.at {
            State::Open => self.open().await,
            State::LoadFiles => self.load_files().await.map(|()| State::PlanChunks),
            State::PlanChunks => self.plan().await.map(|()| State::MarkDuplicates),
            State::MarkDuplicates => self.mark_all().await.map(|()| State::Validate),
            State::Validate => {
                let validation = self.validate().await?;
                self.clean = validation["total_clean_codes"].as_i64().expect("total_clean_codes");
                Ok(match (self.clean, validation["approval_stands"].as_bool().expect("approval_stands")) {
                    (0, _) => State::CloseEmpty,
                    (_, true) => State::InsertCodes,
                    (_, false) => State::WaitForApproval,
                })
            }
            State::WaitForApproval => self.await_approval().await.map(|_| State::InsertCodes),
            State::InsertCodes => self.insert().await.map(|_| State::Verify),
            State::Verify => self.verify().await.map(|_| State::Close),
            State::Close => self.close(None).await.map(|_| State::TidyUp),
            State::TidyUp => self.tidy_up().await.map(|()| State::Done),
            State::CloseEmpty => {
                let note = "No clean codes to insert: all staged codes are duplicates".to_owned();
                self.close(Some(note)).await.map(|_| State::Done)
            }
            State::WaitForMerchant => self.sleep().await.map(|_| State::Open),
            State::Continue => {
                *self = self.continued().await?;
                Ok(State::Open)
            }
            State::NothingToDo | State::Done => Ok(State::Done),
        }
    }

    pub async fn open_output(&self) -> StepResult<open_import::Output> {
        self.open_with(None).await
    }

    /// Waits in line for the merchant: stores the token of this execution.
    pub async fn sleep(&self) -> StepResult<open_import::Output> {
        self.open_with(Some(self.token.clone())).await
    }

    async fn open_with(&self, task_token: Option<String>) -> StepResult<open_import::Output> {
        let (input, execution_arn) = (self.input.clone(), self.execution_arn.clone());
        let input = open_import::Input { input, execution_arn, task_token, token_order: self.token_order };
        // Boxed: the compiler bounds how deep futures are nested.
        Box::pin(open_import::handle(self.app.clone(), input, budget())).await
    }

    /// The execution of the next attempt, which this one hands the import over to.
    pub async fn continued(&self) -> StepResult<Self> {
        let input = close_import::Input { continued: true, ..self.close_input(None) };
        let output = Box::pin(close_import::handle(self.app.clone(), input, budget())).await?;
        let next = Self::of_job(&self.app, self.job, self.attempt + 1);
        let name = format!(":{}-{}", self.job, self.attempt + 1);
        let execution = output.execution.expect("the execution that goes on");
        assert!(execution.ends_with(&name), "{execution}");
        Ok(Self { execution_arn: execution, job: self.job, ..next })
    }

    pub async fn open(&mut self) -> StepResult<State> {
        Ok(match self.open_output().await? {
            open_import::Output::Load { job_id, attempt, files, .. } => {
                (self.job, self.attempt, self.files) = (job_id, attempt, files);
                State::LoadFiles
            }
            open_import::Output::Wait { job_id, attempt, .. } => {
                (self.job, self.attempt) = (job_id, attempt);
                State::WaitForMerchant
            }
            open_import::Output::Nothing { job_id, .. } => {
                self.job = job_id.unwrap_or(self.job);
                State::NothingToDo
            }
        })
    }

    /// Opens the import again with these split points, as if its files were large: one bucket more than points.
    pub async fn split_at(&mut self, db: &TestDb, points: &[&str]) {
        assert_eq!(self.at, State::LoadFiles);
        db.exec(&format!(
            "UPDATE onceload.codes_import_jobs SET staging_created_at = NULL, split_points = '{{{}}}' WHERE id = '{}'",
            points.join(","),
            self.job
        ))
        .await;
        self.open().await.expect("opening with other split points");
    }

    pub async fn load(&self, file_no: i32) -> StepResult<load_staging::Output> {
        let input = load_staging::Input { job_id: self.job, attempt: self.attempt, file_no };
        load_staging::handle(self.app.clone(), input, budget()).await
    }

    /// Loads every file. A rejected file is recorded, and the others are loaded all the same.
    pub async fn load_files(&self) -> StepResult<()> {
        for file in &self.files {
            match self.load(*file).await {
                Err(error) if error.kind != StepErrorKind::FileRejected => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub async fn plan(&mut self) -> StepResult<()> {
        let input = mark_duplicates::Input { job_id: self.job, attempt: self.attempt, chunk: None };
        match mark_duplicates::handle(self.app.clone(), input, budget()).await? {
            mark_duplicates::Output::Plan { chunks } => self.chunks = chunks,
            other => panic!("planning answered {other:?}"),
        }
        Ok(())
    }

    pub async fn mark(&self, chunk: i32) -> StepResult<Value> {
        let input = mark_duplicates::Input { job_id: self.job, attempt: self.attempt, chunk: Some(chunk) };
        mark_duplicates::handle(self.app.clone(), input, budget()).await.map(|marked| json!(marked))
    }

    pub async fn mark_all(&self) -> StepResult<()> {
        for chunk in &self.chunks {
            self.mark(*chunk).await?;
        }
        Ok(())
    }

    async fn validate_with(&self, task_token: Option<String>) -> StepResult<Value> {
        let input = validate_import::Input {
            job_id: self.job,
            attempt: self.attempt,
            task_token,
            token_order: self.token_order,
        };
        validate_import::handle(self.app.clone(), input, budget()).await.map(|output| json!(output))
    }

    pub async fn validate(&self) -> StepResult<Value> {
        self.validate_with(None).await
    }

    pub async fn await_approval(&self) -> StepResult<Value> {
        self.validate_with(Some(self.token.clone())).await
    }

    pub async fn insert(&self) -> StepResult<insert_codes::Output> {
        let input = insert_codes::Input { job_id: self.job, attempt: self.attempt };
        insert_codes::handle(self.app.clone(), input, budget()).await
    }

    pub async fn verify(&self) -> StepResult<Value> {
        let input = verify_import::Input { job_id: self.job, task_id: None, error: None, tidy_up: false };
        verify_import::handle(self.app.clone(), input, budget()).await.map(|output| json!(output))
    }

    pub async fn tidy_up(&self) -> StepResult<()> {
        let input = verify_import::Input { job_id: self.job, task_id: None, error: None, tidy_up: true };
        verify_import::handle(self.app.clone(), input, budget()).await.map(drop)
    }

    /// Runs from the current state to the end and approves on the way.
    pub async fn finish(&mut self, actor: &Actor) -> Ended {
        loop {
            match self.until(State::InsertCodes).await {
                // After an error that goes back, the import asks for a new approval.
                Ended::At(State::InsertCodes) => self.approve(actor).await,
                other => return other,
            }
            let state = self.at;
            match self.step().await {
                Ok(next) => {
                    self.at = next;
                    return self.until(State::Done).await;
                }
                Err(error) => match state.state_after_error(error.kind) {
                    Some(next) => self.at = next,
                    None => {
                        let status = self.close_stopped(&error).await.expect("close-import");
                        return Ended::Stopped { error, status };
                    }
                },
            }
        }
    }
}

/// The event that S3 sends to EventBridge (Amazon S3 User Guide, "EventBridge event message structure").
pub fn upload_event(bucket: &str, key: &str, version_id: &str) -> Value {
    json!({
        "version": "0", "id": Uuid::now_v7(), "detail-type": "Object Created", "source": "aws.s3",
        "account": "000000000000", "region": "eu-central-1", "time": "2026-01-01T00:00:00Z", "resources": [],
        "detail": {
            "version": "0", "bucket": { "name": bucket }, "reason": "PutObject",
            "object": { "key": key, "size": 1, "etag": "e", "version-id": version_id, "sequencer": "00" }
        }
    })
}
