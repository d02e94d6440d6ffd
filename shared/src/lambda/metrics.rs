//! Counters, as lines of CloudWatch's embedded metric format: one JSON object on standard output is one data point,
//! without a call and without a dependency.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The namespace of the counters in CloudWatch; the one dimension is `FunctionName`.
const NAMESPACE: &str = "Onceload";

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// A stored answer was given again.
    IdempotentReplays,
    /// A key whose first request was still at work after the longest wait: 409.
    IdempotencyConflicts,
    /// A key that came with another request than the first time: 422.
    IdempotencyMismatches,
    /// A stuck import gave way to a new one.
    SupersededImports,
    /// An import was refused because one is working: 409.
    ImportConflicts,
    /// An upload lies in a folder that is no merchant's: no job can say so.
    UploadsWithoutMerchant,
    /// A message could not be delivered for a day.
    MessagesGivenUp,
    /// A request that could have had a key and had none. With `KeyedRequests`: the share of clients without.
    KeylessRequests,
    /// A request with a key.
    KeyedRequests,
}

impl Metric {
    /// Every counter.
    pub const ALL: [Self; 9] = [
        Self::IdempotentReplays,
        Self::IdempotencyConflicts,
        Self::IdempotencyMismatches,
        Self::SupersededImports,
        Self::ImportConflicts,
        Self::UploadsWithoutMerchant,
        Self::MessagesGivenUp,
        Self::KeylessRequests,
        Self::KeyedRequests,
    ];

    /// Its name in CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdempotentReplays => "IdempotentReplays",
            Self::IdempotencyConflicts => "IdempotencyConflicts",
            Self::IdempotencyMismatches => "IdempotencyMismatches",
            Self::SupersededImports => "SupersededImports",
            Self::ImportConflicts => "ImportConflicts",
            Self::UploadsWithoutMerchant => "UploadsWithoutMerchant",
            Self::MessagesGivenUp => "MessagesGivenUp",
            Self::KeylessRequests => "KeylessRequests",
            Self::KeyedRequests => "KeyedRequests",
        }
    }
}

/// Counts one.
#[allow(clippy::print_stdout, reason = "standard output is where Lambda takes metrics from")]
pub fn count(metric: Metric) {
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "local".to_owned());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // One call, so that the line is not torn by a log line of another thread.
    println!("{}", document(metric, &function, u64::try_from(now.as_millis()).unwrap_or_default()));
}

/// One data point; `now` in milliseconds since 1970.
fn document(metric: Metric, function: &str, now: u64) -> Value {
    json!({
        "_aws": {
            "Timestamp": now,
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["FunctionName"]],
                "Metrics": [{ "Name": metric.name(), "Unit": "Count" }],
            }],
        },
        "FunctionName": function,
        (metric.name()): 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of the specification that a document can break, read off its JSON schema.
    #[test]
    fn documents_follow_the_specification() {
        for metric in Metric::ALL {
            let line = document(metric, "onceload-create-community", 1_795_000_000_000).to_string();
            assert!(!line.contains('\n'), "one line: {line}");
            let root: Value = serde_json::from_str(&line).unwrap();
            assert!(root["_aws"]["Timestamp"].is_u64(), "an integer: {line}");
            let directives = root["_aws"]["CloudWatchMetrics"].as_array().unwrap();
            assert_eq!(directives.len(), 1);
            let namespace = directives[0]["Namespace"].as_str().unwrap();
            assert!((1..=1024).contains(&namespace.len()) && !namespace.starts_with("AWS/"));
            for set in directives[0]["Dimensions"].as_array().unwrap() {
                let set = set.as_array().unwrap();
                assert!((1..=30).contains(&set.len()));
                for dimension in set {
                    let target = root[dimension.as_str().unwrap()].as_str();
                    assert!(
                        target.is_some_and(|value| (1..=1024).contains(&value.len())),
                        "a dimension's target is a string on the root: {line}"
                    );
                }
            }
            let definitions = directives[0]["Metrics"].as_array().unwrap();
            assert_eq!(definitions.len(), 1);
            let name = definitions[0]["Name"].as_str().unwrap();
            assert_eq!((name, &root[name]), (metric.name(), &json!(1)), "a metric's target is a number");
            assert_eq!(definitions[0]["Unit"], "Count");
        }
    }

    #[test]
    fn names_differ() {
        let names: std::collections::BTreeSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
    }
}
