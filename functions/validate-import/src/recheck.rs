//! Looks at every chunk again: whether its rows are still there and keep the rules, and which codes entered production
//! since it was marked.

use shared::db::chunks::ChunkState;
use shared::db::jobs::Job;
use shared::db::staging::mark::{self as staging, Rechecked};
use shared::db::{Database, DbResult, Limits, Transaction};
use std::time::Duration;

/// What looking again came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recheck {
    Done(Findings),
    /// Staging is not what was committed; this was found.
    StagingLost(String),
}

/// What is to be decided about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Codes that entered production since the marking.
    pub(crate) new_duplicates: i64,
    /// Chunks whose rows break a rule, in words.
    pub(crate) errors: Vec<String>,
}

/// Looks at all chunks, half of them on each of two connections.
pub(crate) async fn recheck(
    db: &Database,
    job: &Job,
    marked: &[ChunkState],
    time_left: Duration,
) -> DbResult<Recheck> {
    let (first, second) = marked.split_at(marked.len() / 2);
    let (first_seen, second_seen) =
        tokio::try_join!(look_at(db, job, first, time_left), look_at(db, job, second, time_left))?;
    Ok(compare([(first, first_seen), (second, second_seen)]))
}

/// Looks at some of the chunks in one transaction. `None`: the table of one is gone.
async fn look_at(
    db: &Database,
    job: &Job,
    marked: &[ChunkState],
    time_left: Duration,
) -> DbResult<Option<Vec<Rechecked>>> {
    let mut connection = db.connection().await?;
    let tx = connection.begin("validate", Limits::bulk(time_left)).await?;
    let seen = look_at_each(&tx, job, marked).await;
    // The transaction only reads, so nothing is lost if this fails.
    tx.rollback().await.ok();
    match seen {
        Err(error) if error.is_missing_table() => Ok(None),
        seen => seen.map(Some),
    }
}

async fn look_at_each(tx: &Transaction<'_>, job: &Job, marked: &[ChunkState]) -> DbResult<Vec<Rechecked>> {
    let mut seen = Vec::with_capacity(marked.len());
    for state in marked {
        seen.push(staging::recheck(tx, job.id, job.merchant, &state.chunk).await?);
    }
    Ok(seen)
}

/// Compares what is there now with what was marked.
fn compare<const N: usize>(parts: [(&[ChunkState], Option<Vec<Rechecked>>); N]) -> Recheck {
    let mut findings = Findings::default();
    for (marked, seen) in parts {
        let Some(seen) = seen else {
            return Recheck::StagingLost("a table is gone".into());
        };
        for (state, seen) in marked.iter().zip(seen) {
            let number = state.chunk.number;
            if seen.rows != state.staged {
                let found = format!("chunk {number} has {} rows, {} were committed", seen.rows, state.staged);
                return Recheck::StagingLost(found);
            }
            if seen.invalid > 0 {
                findings.errors.push(format!("chunk {number}: {} staged rows break a rule", seen.invalid));
            }
            // Codes may also have left production; they stay marked as duplicates.
            findings.new_duplicates += (seen.existing - state.existing).max(0);
        }
    }
    Recheck::Done(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::chunk;

    #[test]
    fn a_code_that_left_production_does_not_hide_one_that_entered_it() {
        let marked = [chunk(0, 10, 4), chunk(1, 10, 4)];
        let seen = vec![
            Rechecked { rows: 10, invalid: 0, existing: 1 },
            Rechecked { rows: 10, invalid: 2, existing: 6 },
        ];
        let Recheck::Done(findings) = compare([(&marked, Some(seen))]) else {
            panic!("nothing is lost");
        };
        assert_eq!(findings.new_duplicates, 2);
        assert_eq!(findings.errors, ["chunk 1: 2 staged rows break a rule"]);
    }

    #[test]
    fn missing_rows_and_missing_tables_are_staging_lost() {
        let marked = [chunk(0, 10, 0)];
        let empty = vec![Rechecked { rows: 0, invalid: 0, existing: 0 }];
        let lost = |found: &str| Recheck::StagingLost(found.into());
        assert_eq!(compare([(&marked, Some(empty))]), lost("chunk 0 has 0 rows, 10 were committed"));
        assert_eq!(compare([(&[], Some(Vec::new())), (&marked, None)]), lost("a table is gone"));
    }
}
