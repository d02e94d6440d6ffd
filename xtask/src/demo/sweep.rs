//! Runs the sweep before its schedule does, when an import of an earlier stack still holds the merchant's lease. The
//! sweep closes such an import if its execution is over, once it has been silent for 45 seconds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::REGION;
use crate::stack::Stack;
use crate::{Context, Error, Result, aws};

/// A part of the function's name, from its id in template.yaml.
const LOGICAL_ID: &str = "-SweepImportsFunction-";

pub(super) fn run_sweep(stack: &Stack) -> Result<()> {
    let endpoint = &stack.file.aws_endpoint_url;
    aws::invoke(endpoint, &find_function(endpoint)?, &json!({}), Duration::from_secs(60)).map(drop)
}

fn find_function(endpoint: &str) -> Result<String> {
    let credential = format!("AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/lambda/aws4_request");
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build();
    let list: Value = config
        .new_agent()
        .get(format!("{endpoint}/2015-03-31/functions/?MaxItems=50"))
        .header("authorization", format!("{credential}, SignedHeaders=host, Signature=0"))
        .call()
        .and_then(|mut answer| answer.body_mut().read_json())
        .context(|| "list the functions")?;
    let names = list["Functions"].as_array().into_iter().flatten();
    let mut names = names.filter_map(|function| function["FunctionName"].as_str());
    let found = names.find(|name| name.contains(LOGICAL_ID)).map(str::to_owned);
    found.ok_or_else(|| Error::advice("the stack has no sweep function"))
}
