//! What the functions share: the domain (pure rules), the database (all SQL and transactions)
//! and the Lambda edge (S3, events, errors, wiring). `edge -> db -> domain`, never back.

pub mod db;
pub mod domain;
pub mod edge;
