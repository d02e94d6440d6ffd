//! Reads and checks the body of a request: a merchant, one file, and the headers of its columns.

use lambda_http::Request;
use serde::Deserialize;
use shared::domain::actor::Actor;
use shared::domain::field::Mapping;
use shared::domain::ids::MerchantId;
use shared::domain::source::{Source, StartRequest};
use shared::http::{Problem, read_body_of_member};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    merchant_id: MerchantId,
    file: String,
    mapping: Mapping,
}

/// A request whose every part has been checked.
pub(crate) struct RunRequest {
    /// The key of its file.
    pub(crate) file: String,
    /// The request as every door records it.
    pub(crate) start: StartRequest,
    /// What it names.
    pub(crate) source: Source,
}

/// 404 unless the actor belongs to the merchant, then 400 and 422.
pub(crate) fn read(request: &Request, actor: &Actor) -> Result<RunRequest, Problem> {
    let body: RunBody = read_body_of_member(request, actor)?;
    if body.mapping.is_empty() {
        return Err(Problem::unprocessable("/mapping", "Name a header for one field at least: `code`."));
    }
    let start = StartRequest {
        merchant_id: body.merchant_id,
        files: Some(vec![body.file.clone()]),
        prefix: None,
        mapping: Some(body.mapping),
        options: None,
    };
    let source = start.check().map_err(|error| point_at_file(error.into()))?;
    Ok(RunRequest { file: body.file, start, source })
}

/// The request has one `file`; a start request has a list of them.
fn point_at_file(mut problem: Problem) -> Problem {
    let pointer = &mut problem.members["errors"][0]["pointer"];
    if *pointer == "/files/0" {
        *pointer = "/file".into();
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_key_is_a_fault_of_the_member_file() {
        let pointer = |problem: &Problem| problem.members["errors"][0]["pointer"].clone();
        assert_eq!(pointer(&point_at_file(Problem::unprocessable("/files/0", "bad"))), "/file");
        assert_eq!(pointer(&point_at_file(Problem::unprocessable("/mapping/x", "bad"))), "/mapping/x");
    }
}
