//! What at least two functions use, and all SQL. `http -> lambda -> source -> {s3, csv, db} -> domain`, never back.

#![warn(missing_docs, unreachable_pub)]

pub mod csv;
pub mod db;
pub mod domain;
pub mod http;
pub mod lambda;
pub mod s3;
pub mod source;
