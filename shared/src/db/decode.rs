//! Reading columns that hold a word of a closed list, or a time span.

use super::error::{DbError, DbResult};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use tokio_postgres::Row;

/// A column that holds a word of a closed list. Another word is a defect.
pub(super) fn read_word<T>(row: &Row, column: &'static str) -> DbResult<T>
where
    T: FromStr,
    T::Err: Display,
{
    let word: &str = row.get(column);
    word.parse().map_err(|error: T::Err| DbError::defect(column, error.to_string()))
}

/// Seconds as the database counts them; NULL, and less than nothing, is zero.
pub(super) fn to_duration(seconds: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
}
