//! The state machine's text against the code: error names, ways back, edges.

use onceload_tests::State;
use serde_json::Value;
use shared::domain::step::StepErrorKind;
use std::collections::BTreeSet;

fn definition() -> Value {
    read("import")
}

fn read(name: &str) -> Value {
    let path = format!("{}/../statemachine/{name}.asl.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Calls `f` with every state machine that is deployed.
fn all(f: &mut impl FnMut(&Value)) {
    for name in ["import", "maintenance"] {
        machines(&read(name), f);
    }
}

/// Calls `f` with every state machine's states, nested ones included.
fn machines(machine: &Value, f: &mut impl FnMut(&Value)) {
    f(machine);
    for state in machine["States"].as_object().unwrap().values() {
        if let Some(inner) = state.get("ItemProcessor") {
            machines(inner, f);
        }
    }
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn error_lists(state: &Value) -> Vec<Vec<String>> {
    ["Retry", "Catch"]
        .iter()
        .filter_map(|member| state.get(member))
        .flat_map(|rules| rules.as_array().unwrap())
        .map(|rule| names(&rule["ErrorEquals"]))
        .collect()
}

#[test]
fn errors_are_those_of_the_code() {
    let known: BTreeSet<&str> = StepErrorKind::ALL.into_iter().map(StepErrorKind::as_str).collect();
    let mut seen = BTreeSet::new();
    all(&mut |machine| {
        for (name, state) in machine["States"].as_object().unwrap() {
            for error in error_lists(state).into_iter().flatten() {
                let foreign = error.starts_with("States.") || error.starts_with("Lambda.");
                assert!(foreign || known.contains(error.as_str()), "{name}: {error}");
                seen.insert(error);
            }
        }
    });
    for kind in known {
        assert!(seen.contains(kind), "no state says what follows from {kind}");
    }
}

#[test]
fn every_task_retries_what_may_go_away_and_only_that() {
    all(&mut |machine| {
        for (name, state) in machine["States"].as_object().unwrap() {
            if state["Type"] != "Task" {
                continue;
            }
            let retry = state["Retry"].as_array().unwrap_or_else(|| panic!("{name} has no Retry"));
            let never = names(&retry[0]["ErrorEquals"]);
            assert_eq!(retry[0]["MaxAttempts"], 0, "{name}");
            for kind in StepErrorKind::ALL {
                let again = matches!(kind, StepErrorKind::Transient | StepErrorKind::Internal);
                assert_eq!(!again, never.contains(&kind.as_str().to_owned()), "{name}: {kind:?}");
            }
            let later = names(&retry[1]["ErrorEquals"]);
            assert!(
                later.contains(&"Transient".to_owned())
                    && later.contains(&"Lambda.ServiceException".to_owned())
            );
        }
    });
}

#[test]
fn every_edge_leads_somewhere_and_every_state_is_reached() {
    all(&mut |machine| {
        let states = machine["States"].as_object().unwrap();
        let mut reached = BTreeSet::from([machine["StartAt"].as_str().unwrap().to_owned()]);
        for (name, state) in states {
            let mut targets: Vec<&Value> = Vec::new();
            targets.extend(state.get("Next"));
            targets.extend(state.get("Default"));
            for member in ["Choices", "Catch"] {
                targets.extend(
                    state.get(member).into_iter().flat_map(|r| r.as_array().unwrap()).map(|r| &r["Next"]),
                );
            }
            for target in &targets {
                let target = target.as_str().unwrap_or_else(|| panic!("{name} has a rule without Next"));
                assert!(states.contains_key(target), "{name} leads to {target}, which is not there");
                reached.insert(target.to_owned());
            }
            let ends = state["End"] == true || matches!(state["Type"].as_str(), Some("Succeed" | "Fail"));
            assert!(ends || !targets.is_empty(), "{name} neither ends nor goes on");
        }
        for name in states.keys() {
            assert!(reached.contains(name), "{name} is never reached");
        }
    });
}

/// The driver of these tests goes where the state machine goes.
#[test]
fn the_driver_takes_the_same_ways_back() {
    let definition = definition();
    for state in State::TASKS {
        let name = format!("{state:?}");
        let catches = definition["States"][&name]["Catch"]
            .as_array()
            .unwrap_or_else(|| panic!("{name} catches nothing"));
        for kind in StepErrorKind::ALL {
            let caught = catches
                .iter()
                .find(|rule| {
                    let errors = names(&rule["ErrorEquals"]);
                    errors.contains(&kind.as_str().to_owned()) || errors.contains(&"States.ALL".to_owned())
                })
                .map(|rule| rule["Next"].as_str().unwrap().to_owned());
            let driven = state.way_back(kind).map_or("CloseStopped".to_owned(), |next| format!("{next:?}"));
            assert_eq!(caught, Some(driven), "{name}: {kind:?}");
        }
    }
}

/// Whatever a task's step fails with for good, the task is given up by the same function, and what it held is given back.
#[test]
fn every_failed_task_is_given_up() {
    let definition = read("maintenance");
    for (state, function) in
        [("Rollback", "RollbackImportArn"), ("Verify", "VerifyImportArn"), ("Export", "ExportReportArn")]
    {
        let work = &definition["States"][state];
        let catch = &work["Catch"].as_array().unwrap()[..];
        assert_eq!(catch.len(), 1, "{state}");
        assert_eq!(names(&catch[0]["ErrorEquals"]), ["States.ALL"], "{state}");
        let give_up = &definition["States"][catch[0]["Next"].as_str().unwrap()];
        for task in [work, give_up] {
            assert_eq!(task["Arguments"]["FunctionName"], format!("${{{function}}}"), "{state}");
        }
        assert!(work["Arguments"]["Payload"].get("error").is_none());
        assert_eq!(give_up["Arguments"]["Payload"]["error"], "{% $caught %}", "{state}");
    }
}
