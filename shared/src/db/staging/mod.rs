//! Staging workspaces: the only place where SQL is composed, because each job has tables of its own.
//!
//! Buckets `onceload_staging.b_<job>_<nn>` hold the rows by range of code, side tables `d_<job>_<nn>` the duplicates of a
//! chunk. All are UNLOGGED and without an index. Names come from UUIDs and numbers, never from input.

pub mod copy;
pub mod export;
pub mod insert;
pub mod mark;
pub mod tables;
