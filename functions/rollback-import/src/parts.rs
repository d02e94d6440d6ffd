//! Deletes what may go of the codes, part by part of the heap, so that the step knows its pace and notices when it was given
//! up. It never waits for a transaction that holds a code: a claim may already wait for codes that this transaction has deleted.

use shared::db::codes::locked::Locked;
use shared::db::codes::references::Production;
use shared::db::codes::{self, Part};
use shared::db::progress::Watch;
use shared::db::tasks::Task;
use shared::db::{ASK_AGAIN, DbError, Transaction, within_budget};
use shared::domain::pace::Pace;
use shared::domain::step::{StepError, StepErrorKind, StepResult};
use shared::domain::task::ClaimedCodes;
use std::time::{Duration, Instant};

/// Blocks of the heap that are deleted in one statement: 64 MiB.
const PART_BLOCKS: i64 = 8192;
/// More than 64 subtransactions don't fit into what the server keeps in memory of them. Each group of parts is one.
const MOST_GROUPS: usize = 48;
/// How long a plain DELETE waits for a code. Far less than the second after which a claim that waits looks for a deadlock.
const SHORT_WAIT: Duration = Duration::from_millis(10);
/// How long codes that others hold are looked at again. Claims of codes that are deleted wait meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// How many codes of a part are due; `all`: the claimed ones, too.
fn count_due(part: &Part, all: bool) -> i64 {
    if all { part.codes } else { part.codes - part.claimed }
}

/// One rollback's way through the heap.
struct Sweep<'a> {
    task: &'a Task,
    watch: &'a Watch,
    /// Claimed codes are due, too.
    all: bool,
    locked: Locked<'a>,
    deleted: i64,
}

/// Deletes the codes that are due and that no row references. Returns how many are deleted, and how many are left.
pub(crate) async fn delete_codes(
    tx: &mut Transaction<'_>,
    task: &Task,
    watch: &Watch,
    time_left: Duration,
) -> StepResult<(i64, i64)> {
    let all = task.claimed == Some(ClaimedCodes::Delete);
    let production = Production::hold(tx).await?;
    if let Some(obstacle) = production.find_obstacle() {
        return Err(StepError::new(StepErrorKind::InvalidInput, obstacle));
    }
    let parts = codes::find_parts(tx, &production, task.job, PART_BLOCKS).await;
    let parts = within_budget("finding the codes", ASK_AGAIN, parts)?;
    let locked = Locked::open(tx, &production, task.job, task.merchant, all).await?;
    let mut sweep = Sweep { task, watch, all, locked, deleted: 0 };
    sweep.delete_parts(tx, &parts, !production.is_referenced(), time_left).await?;
    let left = sweep.delete_rest(tx).await?;
    sweep.locked.close(tx).await?;
    Ok((sweep.deleted, left))
}

impl Sweep<'_> {
    /// `plainly`: no row can reference a code.
    async fn delete_parts(
        &mut self,
        tx: &mut Transaction<'_>,
        parts: &[Part],
        plainly: bool,
        time_left: Duration,
    ) -> StepResult<()> {
        let due: Vec<&Part> = parts.iter().filter(|part| count_due(part, self.all) > 0).collect();
        let total = due.iter().map(|part| count_due(part, self.all)).sum();
        let mut pace = Pace::start("deleting", total, "codes", time_left, ASK_AGAIN);
        let mut passed = 0;
        for group in due.chunks(due.len().div_ceil(MOST_GROUPS).max(1)) {
            let plain = if plainly { self.delete_plainly(tx, group).await? } else { None };
            match plain {
                Some(rows) => self.note(rows)?,
                None => {
                    for part in group {
                        let deleted = self.locked.delete(tx, Some(&part.range)).await;
                        let (_, rows) = within_budget("deleting the codes", ASK_AGAIN, deleted)?;
                        self.note(rows)?;
                    }
                }
            }
            passed += group.iter().map(|part| count_due(part, self.all)).sum::<i64>();
            pace.check(passed)?;
        }
        Ok(())
    }

    /// Deletes all that is due in these parts. `None` if somebody holds a code of them, or waits for this transaction.
    async fn delete_plainly(&self, tx: &mut Transaction<'_>, parts: &[&Part]) -> StepResult<Option<i64>> {
        let savepoint = tx.savepoint_with("plainly", SHORT_WAIT).await?;
        let mut deleted = 0;
        for part in parts {
            self.watch.check()?;
            let rows =
                codes::delete_part(&savepoint, self.task.job, self.task.merchant, &part.range, self.all)
                    .await;
            let in_the_way = matches!(&rows, Ok(0)) || rows.as_ref().is_err_and(DbError::is_lock_timeout);
            if in_the_way {
                savepoint.rollback().await?;
                return Ok(None);
            }
            deleted += within_budget("deleting the codes", ASK_AGAIN, rows)?;
        }
        savepoint.commit().await?;
        Ok(Some(deleted))
    }

    /// Deletes what was moved meanwhile, and what others held before. Returns how many codes are left.
    async fn delete_rest(&mut self, tx: &Transaction<'_>) -> StepResult<i64> {
        let started = Instant::now();
        loop {
            let deleted = self.locked.delete(tx, None).await;
            let (locked, deleted) = within_budget("deleting the codes", ASK_AGAIN, deleted)?;
            self.note(deleted)?;
            let left = codes::count_left(tx, self.task.job, self.task.merchant, self.all).await;
            let (left, due) = within_budget("counting the codes that stay", ASK_AGAIN, left)?;
            // What is locked and not deleted is referenced.
            let in_use = due - (locked - deleted);
            if in_use <= 0 || started.elapsed() >= LOOK_AGAIN {
                return Ok(left);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn note(&mut self, deleted: i64) -> StepResult<()> {
        self.deleted += deleted;
        self.watch.set_rows(self.deleted);
        self.watch.check()
    }
}
