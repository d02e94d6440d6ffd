//! Running a named statement. Unnamed on the wire (one round trip, no session state); typed parameters.

use super::error::{DbError, DbResult};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

/// A statement and its name, which is also the first line of its text.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    pub name: &'static str,
    pub sql: &'static str,
}

pub type Param<'a> = (&'a (dyn ToSql + Sync), Type);

impl Statement {
    pub async fn all(&self, client: &Client, params: &[Param<'_>]) -> DbResult<Vec<Row>> {
        client.query_typed(self.sql, params).await.map_err(|e| DbError::new(self.name, e))
    }

    /// At most one row; more is a defect and an error.
    pub async fn opt(&self, client: &Client, params: &[Param<'_>]) -> DbResult<Option<Row>> {
        client.query_typed_opt(self.sql, params).await.map_err(|e| DbError::new(self.name, e))
    }

    /// Exactly one row.
    pub async fn one(&self, client: &Client, params: &[Param<'_>]) -> DbResult<Row> {
        client.query_typed_one(self.sql, params).await.map_err(|e| DbError::new(self.name, e))
    }

    /// How many rows were written.
    pub async fn run(&self, client: &Client, params: &[Param<'_>]) -> DbResult<u64> {
        client.execute_typed(self.sql, params).await.map_err(|e| DbError::new(self.name, e))
    }
}
