//! Marks the duplicates of an import: without a chunk it ends loading and plans the chunks, with one it marks that chunk.

mod chunk;
mod compare;
mod hash;
mod plan;
mod sorted;

use serde::{Deserialize, Serialize};
use shared::domain::ids::JobId;
use shared::domain::step::StepResult;
use shared::lambda::{App, Budget};

/// One attempt of a job, and the chunk to mark; no chunk while they are to be planned.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub job_id: JobId,
    pub attempt: i32,
    #[serde(default)]
    pub chunk: Option<i32>,
}

/// The planned chunks, or what one chunk holds. The names are those that operators' scripts know.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Output {
    Plan {
        chunks: Vec<i32>,
    },
    Marked {
        success: bool,
        chunk: i32,
        total_rows: i64,
        internal_duplicates: i64,
        database_duplicates: i64,
        both_duplicates: i64,
        clean_count: i64,
        chunks_processed: i32,
    },
}

/// How many connections to the database it holds. One marks, the other beats.
pub const CONNECTIONS: usize = 2;

/// The handler.
pub async fn handle(app: App, input: Input, budget: Budget) -> StepResult<Output> {
    let Some(chunk) = input.chunk else {
        let chunks = plan::plan(&app.db, input.job_id, input.attempt, budget.left()).await?;
        return Ok(Output::Plan { chunks });
    };
    let marked = chunk::mark(&app.db, input.job_id, input.attempt, chunk, budget.left()).await?;
    Ok(Output::Marked {
        success: true,
        chunk,
        total_rows: marked.rows,
        internal_duplicates: marked.internal,
        database_duplicates: marked.existing,
        both_duplicates: marked.both,
        clean_count: marked.clean,
        chunks_processed: 1,
    })
}
