//! The states in which a function works: the tasks of both state machines, also those inside a Map. `KeepUnregistered` calls none, and
//! has tests of its own (`tests/tests/e2e/import/unregistered.rs`).

use crate::Outcome;
use serde_json::Value;
use std::fmt;
use xtask::project;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// `import` or `maintenance`
    pub machine: &'static str,
    pub state: String,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.machine, self.state)
    }
}

/// Reads the deployed definitions.
pub(super) fn read() -> Outcome<Vec<Node>> {
    let mut nodes = Vec::new();
    for machine in ["import", "maintenance"] {
        let path = project::root().join(format!("statemachine/{machine}.asl.json"));
        let definition: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        collect(machine, &definition["States"], &mut nodes);
    }
    Ok(nodes)
}

fn collect(machine: &'static str, states: &Value, nodes: &mut Vec<Node>) {
    for (state, definition) in states.as_object().into_iter().flatten() {
        match definition["Type"].as_str() {
            Some("Task") if calls_function(definition) => nodes.push(Node { machine, state: state.clone() }),
            Some("Map") => collect(machine, &definition["ItemProcessor"]["States"], nodes),
            _ => {}
        }
    }
}

fn calls_function(task: &Value) -> bool {
    task["Resource"].as_str().is_some_and(|resource| resource.starts_with("arn:aws:states:::lambda:invoke"))
}
