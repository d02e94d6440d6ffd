//! The campaign of faults: each step and each POST runs with one message, one request to S3 or its process taken away at every place
//! in turn, then once more without a fault. Afterwards everything must be as if nothing had happened.

mod campaign;
mod case;
mod effects;
mod snapshot;
mod subjects;

pub use campaign::{Report, Scope, run_subject};
pub use case::{Case, Fault, Prepared};
pub use subjects::{SUBJECTS, Subject};
