//! The Lambda edge: configuration, S3, the CSV stream, delivery of messages, and how errors leave a function.

pub mod app;
pub mod csv_stream;
pub mod deliver;
pub mod http;
pub mod inspect;
pub mod objects;
pub mod serve;

pub use app::{App, Config};
pub use serve::{Budget, serve_http, serve_step};
