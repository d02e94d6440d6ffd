//! Makes an application's own table of codes the one that imports write to: `onceload.codes` becomes a view of it.
//!
//! A call looks first. What it finds and the SQL that is left to do are its answer; with `apply` it runs that SQL, unless there are
//! problems. Called again, it does what is left.

mod columns;
mod history;
mod judge;
mod request;

pub use request::{Answer, Finding, Reason, Request};

use columns::Mapped;
use shared::db::adoption::run::Runner;
use shared::db::adoption::{self, Table, ddl};
use shared::db::codes::references::list_missing_rights;
use shared::db::{Connection, Database, DbError, DbResult, Session};
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::lambda::Budget;
use std::time::Duration;
use tokio::time::{interval, sleep};

/// What is left to do.
struct Plan {
    answer: Answer,
    steps: Vec<Step>,
    /// The table's object id, if there is one.
    table: Option<i64>,
}

/// A part of what is left to do.
enum Step {
    /// Quick, but nobody else may use the table meanwhile.
    Alone(String),
    /// An index with its name.
    Index(String, String),
    /// Several statements in one transaction.
    Together(Vec<String>),
}

impl Step {
    fn sql(&self) -> String {
        match self {
            Self::Alone(sql) | Self::Index(sql, _) => format!("{sql};"),
            Self::Together(statements) => format!("BEGIN; {}; COMMIT;", statements.join("; ")),
        }
    }
}

/// How often a statement that needs the table for itself is tried: readers must not wait behind it.
const TRIES: u32 = 30;
/// How long others get their turn between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the progress of an index is logged.
const REPORT: Duration = Duration::from_secs(10);

/// Looks, and with `apply` does what is left.
pub async fn adopt(db: &Database, request: &Request, budget: Budget) -> StepResult<Answer> {
    let looker = db.connection().await?;
    let mut connection = db.connection().await?;
    let mut runner = Runner::begin(&mut connection).await?;
    let plan = plan(&looker, request, budget).await?;
    if !request.apply || !plan.answer.problems.is_empty() {
        return Ok(plan.answer);
    }
    for (n, step) in plan.steps.iter().enumerate() {
        tracing::info!(step = n + 1, of = plan.steps.len(), sql = step.sql(), "adopting");
        match run(&mut runner, &looker, step, plan.table, budget).await {
            Ok(()) => {}
            // A code came twice in between: look again and say which.
            Err(error) if error.is_unique_violation() => {
                return Ok(self::plan(&looker, request, budget).await?.answer);
            }
            Err(error) => return Err(explain(error, step)),
        }
    }
    Ok(Answer { applied: true, ..plan.answer })
}

async fn plan(on: &Connection, request: &Request, budget: Budget) -> StepResult<Plan> {
    let patient = on.with_patience(budget.left());
    let current = adoption::find_current(&patient).await?;
    let Some(table) = find_table(on, &request.table).await? else {
        let detail = format!("there is no table {}", request.table);
        let advice =
            "Name it with its schema, such as public.promo_codes; quote it where PostgreSQL needs it.";
        let problem = Finding::new(Reason::NotFound, &request.table, detail, advice);
        let answer =
            Answer { sql: Vec::new(), problems: vec![problem], warnings: Vec::new(), applied: false };
        return Ok(Plan { answer, steps: Vec::new(), table: None });
    };
    let mut problems = judge::judge_table(&table, &current);
    if !problems.is_empty() {
        let answer = Answer { sql: Vec::new(), problems, warnings: judge::warn(&table), applied: false };
        return Ok(Plan { answer, steps: Vec::new(), table: None });
    }
    let mut mapped = columns::map(&patient, &table, &request.columns).await?;
    problems.append(&mut mapped.problems);
    problems.append(&mut judge::judge_rows(&table, &mapped));
    let can_read = table.has_schema && !table.lacks.iter().any(|it| it == "SELECT");
    let can_compare = !problems.iter().any(|it| matches!(it.reason, Reason::CodeType | Reason::MerchantType));
    let (mut steps, needs_owner) = list_steps(&table, &mapped);
    // A rollback looks references up.
    let mut missing = list_missing_rights(&patient, table.oid).await?;
    missing.retain(|right| *right != format!("GRANT SELECT ON {} TO {}", table.name, table.role));
    problems.extend(judge::judge_references(&table, &missing));
    steps.extend(missing.into_iter().map(Step::Alone));
    let indexes = steps.iter().filter(|step| matches!(step, Step::Index(..))).count();
    if let (Some(merchant), Some(code), true) = (&mapped.merchant, &mapped.code, can_read && can_compare) {
        let unique = has_code_index(&table, &mapped);
        let content =
            adoption::check_content(&patient, &table, &merchant.quoted, &code.quoted, !unique).await?;
        problems.append(&mut judge::judge_content(&table, &code.quoted, &content));
    }
    problems.extend(judge::judge_rights(&table, needs_owner));
    problems.extend(judge::judge_time(&table, indexes, budget.left().as_secs() * 4 / 5));
    // Without its codes nothing can be said of an import; who may let us read them is a problem already.
    let history = match can_read {
        true => history::look(&patient, request, &table, mapped.job.as_ref()).await?,
        false => history::History::default(),
    };
    problems.extend(history.problems);
    if mapped.view.len() == ddl::COLUMNS.len() {
        let is_in_place = current.definition.as_ref() == Some(&ddl::describe_view(&table, &mapped.view));
        let mut statements =
            if is_in_place { Vec::new() } else { ddl::swap(&table, &mapped.view, current.is_view) };
        // Nobody sees an import before its codes.
        statements.extend(history.sql);
        if !statements.is_empty() {
            steps.push(Step::Together(statements));
        }
    }
    let mut warnings = mapped.warnings;
    warnings.append(&mut judge::warn(&table));
    warnings.extend(history.warnings);
    let sql = steps.iter().map(Step::sql).collect();
    let applied = steps.is_empty() && problems.is_empty();
    Ok(Plan { answer: Answer { sql, problems, warnings, applied }, steps, table: Some(table.oid) })
}

async fn find_table(on: &dyn Session, name: &str) -> DbResult<Option<Table>> {
    match adoption::find_table(on, name).await {
        // A text that can't be a name is the name of nothing.
        Err(error) if error.code().is_some_and(|code| code.code().starts_with("42")) => Ok(None),
        found => found,
    }
}

/// What the table lacks, and whether only its owner may give it that.
fn list_steps(table: &Table, mapped: &Mapped) -> (Vec<Step>, bool) {
    let mut steps = Vec::new();
    if mapped.job.is_none() {
        steps.push(Step::Alone(ddl::add_job_column(table)));
    }
    if let (Some(merchant), Some(code), false) =
        (&mapped.merchant, &mapped.code, has_code_index(table, mapped))
    {
        let sql = ddl::create_code_index(table, &merchant.quoted, &code.quoted);
        steps.push(Step::Index(sql, format!("{}.{}", table.schema, ddl::CODE_INDEX)));
    }
    let job = mapped.job.as_ref().map_or(ddl::JOB_COLUMN, |column| &column.quoted);
    let job_name = mapped.job.as_ref().map_or(ddl::JOB_COLUMN, |column| &column.name);
    let has_job_index =
        |it: &adoption::Index| it.is_valid && it.keys.first().is_some_and(|key| key == job_name);
    if !table.indexes.iter().any(has_job_index) {
        let sql = ddl::create_job_index(table, job);
        steps.push(Step::Index(sql, format!("{}.{}", table.schema, ddl::JOB_INDEX)));
    }
    let needs_owner = !steps.is_empty();
    steps.extend(ddl::grants(table).into_iter().map(Step::Alone));
    (steps, needs_owner)
}

/// Whether an index finds a merchant's codes in the order of their bytes, and refuses a second one.
fn has_code_index(table: &Table, mapped: &Mapped) -> bool {
    let (Some(merchant), Some(code)) = (&mapped.merchant, &mapped.code) else { return false };
    table.indexes.iter().any(|it| {
        let serves = it.is_unique && it.is_valid && it.is_whole && it.method == "btree";
        serves && it.keys == [merchant.name.as_str(), code.name.as_str()] && it.by_bytes.last() == Some(&true)
    })
}

/// Runs one step.
async fn run(
    runner: &mut Runner<'_>,
    looker: &Connection,
    step: &Step,
    table: Option<i64>,
    budget: Budget,
) -> DbResult<()> {
    match step {
        Step::Alone(sql) => alone(runner, std::slice::from_ref(sql)).await,
        Step::Together(statements) => alone(runner, statements).await,
        Step::Index(sql, name) => {
            let built = {
                let building = runner.concurrently(sql, budget.left());
                tokio::pin!(building);
                let mut ticks = interval(REPORT);
                loop {
                    tokio::select! {
                        done = &mut building => break done,
                        _ = ticks.tick() => report(looker, table).await,
                    }
                }
            };
            if built.is_err() {
                // Half an index costs every insert and serves nobody.
                runner.concurrently(&ddl::drop_index(name), budget.left()).await.ok();
            }
            built
        }
    }
}

/// Waits for the table for a moment at a time.
async fn alone(runner: &mut Runner<'_>, statements: &[String]) -> DbResult<()> {
    let mut tries = 1;
    loop {
        match runner.in_transaction(statements).await {
            Err(error) if error.is_lock_timeout() && tries < TRIES => {
                tries += 1;
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn report(looker: &Connection, table: Option<i64>) {
    let Some(table) = table else { return };
    match adoption::find_progress(looker, table).await {
        Ok(Some(progress)) => tracing::info!(progress, "building an index"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the progress is not known"),
    }
}

/// What failed, in PostgreSQL's words. A call again goes on where this one stopped.
fn explain(error: DbError, step: &Step) -> StepError {
    let sql = step.sql();
    if error.is_transient() || error.is_timeout() {
        let message = format!("{}: {sql}. Call again to go on.", error.describe());
        return StepError::with_source(StepErrorKind::Transient, message, error);
    }
    let why = error.message().unwrap_or_default().to_owned();
    StepError::with_source(StepErrorKind::InvalidInput, format!("{why}: {sql}"), error)
}
