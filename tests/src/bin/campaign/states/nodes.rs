//! The states in which something can fail: the tasks of both state machines, also those inside a Map.

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
            Some("Task") => nodes.push(Node { machine, state: state.clone() }),
            Some("Map") => collect(machine, &definition["ItemProcessor"]["States"], nodes),
            _ => {}
        }
    }
}
