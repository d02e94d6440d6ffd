//! HTTP: who is calling, what they ask, and what they are answered.

mod answer;
mod body;
mod caller;
mod once;
mod problem;
mod serve;

pub use answer::{Answer, json_answer, render, status_url};
pub use body::{read_body, read_body_of_member, read_object};
pub use caller::{Caller, identify_caller, token_claims};
pub use once::{Done, once};
pub use problem::Problem;
pub use serve::serve_http;
