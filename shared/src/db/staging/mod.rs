//! Staging workspaces: SQL is composed here, because each job has tables of its own.
//!
//! Buckets `onceload_staging.b_<job>_<nn>` hold the rows by range of code, side tables `d_<job>_<nn>` the duplicates of a
//! chunk, and while an insert runs `s_<job>_<run>_<nn>` the clean rows of a chunk in order. All are UNLOGGED and without an
//! index. Names come from UUIDs and numbers, never from input.

pub mod again;
pub mod compare;
pub mod copy;
pub mod export;
pub mod insert;
pub mod mark;
pub mod sort;
pub mod tables;
