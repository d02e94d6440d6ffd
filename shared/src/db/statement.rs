//! Running a named statement: unnamed on the wire (one round trip, no session state), typed parameters, and the number
//! of rows checked.

use super::bind::Bind;
use super::connection::Session;
use super::error::{DbError, DbResult};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

/// A statement and its name, which is also the first line of its text.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// `room.verb`, as the server's log shows it.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

/// A statement whose text is composed, because it names tables of one job.
#[derive(Debug, Clone)]
pub(super) struct Composed {
    /// `staging.verb`, which is also the first line of its text.
    pub(super) name: &'static str,
    /// Its text.
    pub(super) sql: String,
}

impl Composed {
    /// Any number of rows.
    pub(super) async fn all(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<Vec<Row>> {
        query(on, self.name, &self.sql, binds).await
    }

    /// Exactly one row.
    pub(super) async fn one(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<Row> {
        let mut rows = self.all(on, binds).await?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (_, n) => Err(DbError::defect(self.name, format!("one row was expected, {n} more came"))),
        }
    }

    /// Writes any number of rows, and returns how many.
    pub(super) async fn run_many(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<u64> {
        execute(on, self.name, &self.sql, binds).await
    }
}

/// Parameters, in the order of `$1`, `$2` and so on.
pub type Binds<'a> = [&'a dyn Bind];

impl Statement {
    /// Any number of rows.
    pub async fn all(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<Vec<Row>> {
        query(on, self.name, self.sql, binds).await
    }

    /// At most one row.
    pub async fn opt(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<Option<Row>> {
        let mut rows = self.all(on, binds).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            n => Err(DbError::defect(self.name, format!("{n} rows came, at most one was expected"))),
        }
    }

    /// Exactly one row.
    pub async fn one(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<Row> {
        let row = self.opt(on, binds).await?;
        row.ok_or_else(|| DbError::defect(self.name, "no row came, one was expected"))
    }

    /// Writes exactly one row.
    pub async fn run_one(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<()> {
        match self.run_guarded(on, binds).await? {
            true => Ok(()),
            false => Err(DbError::defect(self.name, "no row was written, one was expected")),
        }
    }

    /// Writes one row, or none because its guard says that somebody else has decided. `true` if one was written.
    pub async fn run_guarded(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<bool> {
        match self.run_many(on, binds).await? {
            0 => Ok(false),
            1 => Ok(true),
            n => Err(DbError::defect(self.name, format!("{n} rows were written, at most one was expected"))),
        }
    }

    /// Writes any number of rows, and returns how many.
    pub async fn run_many(&self, on: &dyn Session, binds: &Binds<'_>) -> DbResult<u64> {
        execute(on, self.name, self.sql, binds).await
    }
}

async fn query(on: &dyn Session, name: &'static str, sql: &str, binds: &Binds<'_>) -> DbResult<Vec<Row>> {
    let (link, binds) = (on.link(), with_types(binds));
    link.ask(name, link.client()?.query_typed(sql, &binds)).await
}

async fn execute(on: &dyn Session, name: &'static str, sql: &str, binds: &Binds<'_>) -> DbResult<u64> {
    let (link, binds) = (on.link(), with_types(binds));
    link.ask(name, link.client()?.execute_typed(sql, &binds)).await
}

/// The parameters as the driver takes them.
fn with_types<'a>(binds: &[&'a dyn Bind]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    binds.iter().map(|bind| (*bind as &(dyn ToSql + Sync), bind.sql_type())).collect()
}

/// Declares the statements of a room: `FIND = "find"` is the text of `find.sql` beside the file that declares it.
macro_rules! statements {
    ($room:literal: $($name:ident = $verb:literal;)*) => {
        $(pub(super) const $name: $crate::db::statement::Statement = $crate::db::statement::Statement {
            name: concat!($room, ".", $verb),
            sql: include_str!(concat!($verb, ".sql")),
        };)*

        /// Every statement of the room.
        pub(in crate::db) const STATEMENTS: &[$crate::db::statement::Statement] = &[$($name),*];
    };
}

pub(super) use statements;
