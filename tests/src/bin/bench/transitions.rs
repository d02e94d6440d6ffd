//! How many state transitions an import is, from the state machines' own definitions.

use crate::Outcome;
use serde_json::Value;
use xtask::project;

/// What an import's Choice states decide when nothing is wrong: the state that follows.
const IMPORT: [(&str, &str); 2] = [("WhatNext", "LoadFiles"), ("AnythingClean", "WaitForApproval")];
const EXPORT: [(&str, &str); 1] = [("What", "Export")];

/// Of an import of so many files and chunks, with the export of its duplicates, from the start to `Succeed`.
pub(crate) fn of_import(files: u64, chunks: u64) -> Outcome<u64> {
    let import = definition("import")?;
    let items = |map: &str| match map {
        "LoadFiles" => Ok(files),
        "MarkDuplicates" => Ok(chunks),
        other => Err(format!("nobody knows how many items {other} has").into()),
    };
    let export = definition("maintenance")?;
    let none = |map: &str| Err(format!("an export has no Map state, and here is {map}").into());
    Ok(walk(&import, &IMPORT, &items)? + walk(&export, &EXPORT, &none)?)
}

fn definition(name: &str) -> Outcome<Value> {
    let path = project::root().join(format!("statemachine/{name}.asl.json"));
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Follows `Next` from the start and counts every state that is entered, those of a Map once for each item.
fn walk(machine: &Value, choices: &[(&str, &str)], items: &dyn Fn(&str) -> Outcome<u64>) -> Outcome<u64> {
    let mut entered = 0;
    let mut name = machine["StartAt"].as_str().ok_or("a state machine without StartAt")?;
    // No way is longer than all states.
    for _ in 0..machine["States"].as_object().map_or(0, serde_json::Map::len) {
        let state = &machine["States"][name];
        entered += 1;
        match state["Type"].as_str() {
            Some("Map") => entered += items(name)? * walk(&state["ItemProcessor"], choices, items)?,
            Some("Succeed") => return Ok(entered),
            _ => {}
        }
        if state["End"] == Value::Bool(true) {
            return Ok(entered);
        }
        let chosen = choices.iter().find(|(choice, _)| *choice == name).map(|(_, next)| *next);
        name = chosen.or(state["Next"].as_str()).ok_or_else(|| format!("what follows on {name}?"))?;
    }
    Err("a state machine that goes round in circles".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_and_chunk_costs_a_transition() {
        let small = super::of_import(1, 1).unwrap();
        assert_eq!(super::of_import(64, 1).unwrap(), small + 63);
        assert_eq!(super::of_import(64, 49).unwrap(), small + 63 + 48);
    }
}
