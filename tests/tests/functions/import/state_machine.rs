//! The deployed state machines agree with the code: names of errors, retries, catches and transitions.

use onceload_tests::State;
use serde_json::Value;
use shared::domain::step::StepErrorKind;
use std::collections::BTreeSet;
use xtask::project;

/// The definition that is deployed, which `cargo xtask statemachine` writes.
pub(super) fn deployed(name: &str) -> Value {
    let path = project::root().join(format!("statemachine/{name}.asl.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Calls `f` with every deployed state machine, and with the one inside each of their Map states.
fn for_each_machine(f: &mut impl FnMut(&Value)) {
    for name in ["import", "maintenance"] {
        for_each_level(&deployed(name), f);
    }
}

fn for_each_level(machine: &Value, f: &mut impl FnMut(&Value)) {
    f(machine);
    for state in machine["States"].as_object().unwrap().values() {
        if let Some(inner) = state.get("ItemProcessor") {
            for_each_level(inner, f);
        }
    }
}

/// Calls `f` with the name of every state, and the state.
fn for_each_state(f: &mut impl FnMut(&str, &Value)) {
    for_each_machine(&mut |machine| {
        for (name, state) in machine["States"].as_object().unwrap() {
            f(name, state);
        }
    });
}

/// The rules of a state's `Retry` or `Catch`; none if it has no such member.
fn rules<'a>(state: &'a Value, member: &str) -> &'a [Value] {
    state.get(member).map_or(&[], |rules| rules.as_array().unwrap())
}

fn errors(rule: &Value) -> Vec<&str> {
    rule["ErrorEquals"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn every_error_that_is_retried_or_caught_exists_and_every_error_of_a_step_is_handled() {
    let of_steps: BTreeSet<&str> = StepErrorKind::ALL.into_iter().map(StepErrorKind::as_str).collect();
    let mut handled = BTreeSet::new();
    for_each_state(&mut |name, state| {
        for rule in rules(state, "Retry").iter().chain(rules(state, "Catch")) {
            for error in errors(rule) {
                let of_aws = error.starts_with("States.") || error.starts_with("Lambda.");
                assert!(of_aws || of_steps.contains(error), "{name}: {error}");
                handled.insert(error.to_owned());
            }
        }
    });
    for kind in of_steps {
        assert!(handled.contains(kind), "no state handles {kind}");
    }
}

#[test]
fn every_task_retries_transient_and_internal_errors_and_no_other_error_of_a_step() {
    for_each_state(&mut |name, state| {
        if state["Type"] != "Task" {
            return;
        }
        let [final_errors, retried] = rules(state, "Retry") else { panic!("{name} has other retry rules") };
        assert_eq!(final_errors["MaxAttempts"], 0, "{name}");
        for kind in StepErrorKind::ALL {
            let again = matches!(kind, StepErrorKind::Transient | StepErrorKind::Internal);
            assert_eq!(again, errors(retried).contains(&kind.as_str()), "{name}: {kind:?}");
            assert_eq!(!again, errors(final_errors).contains(&kind.as_str()), "{name}: {kind:?}");
        }
        assert!(errors(retried).contains(&"Lambda.ServiceException"), "{name}");
    });
}

#[test]
fn every_transition_leads_to_a_state_and_every_state_is_reached() {
    for_each_machine(&mut |machine| {
        let states = machine["States"].as_object().unwrap();
        let mut reached = BTreeSet::from([machine["StartAt"].as_str().unwrap()]);
        for (name, state) in states {
            let ways = rules(state, "Choices").iter().chain(rules(state, "Catch")).map(|rule| &rule["Next"]);
            let targets: Vec<&Value> =
                state.get("Next").into_iter().chain(state.get("Default")).chain(ways).collect();
            for target in &targets {
                let target = target.as_str().unwrap_or_else(|| panic!("{name} has a rule without Next"));
                assert!(states.contains_key(target), "{name} leads to {target}, which does not exist");
                reached.insert(target);
            }
            let ends = state["End"] == true || matches!(state["Type"].as_str(), Some("Succeed" | "Fail"));
            assert!(ends || !targets.is_empty(), "{name} neither ends nor leads on");
        }
        for name in states.keys() {
            assert!(reached.contains(name.as_str()), "{name} is never reached");
        }
    });
}

#[test]
fn the_test_driver_follows_an_error_to_the_state_that_catches_it() {
    let import = deployed("import");
    for state in State::TASKS {
        let name = format!("{state:?}");
        for kind in StepErrorKind::ALL {
            let caught = rules(&import["States"][&name], "Catch")
                .iter()
                .find(|rule| errors(rule).iter().any(|error| [kind.as_str(), "States.ALL"].contains(error)))
                .and_then(|rule| rule["Next"].as_str());
            let driven =
                state.state_after_error(kind).map_or("CloseStopped".to_owned(), |next| format!("{next:?}"));
            assert_eq!(caught, Some(driven.as_str()), "{name}: {kind:?}");
        }
    }
}

#[test]
fn a_rejected_file_does_not_stop_the_other_files() {
    let load = &deployed("import")["States"]["LoadFiles"]["ItemProcessor"]["States"];
    let [caught] = rules(&load["LoadFile"], "Catch") else { panic!("LoadFile has other catches") };
    assert_eq!(errors(caught), ["FileRejected"]);
    let next = &load[caught["Next"].as_str().unwrap()];
    assert_eq!((&next["Type"], &next["End"]), (&Value::from("Pass"), &Value::from(true)));
}

#[test]
fn every_error_that_stops_a_machine_is_kept_for_the_step_that_records_it() {
    for_each_state(&mut |name, state| {
        for rule in rules(state, "Catch").iter().filter(|rule| errors(rule) == ["States.ALL"]) {
            let kept = rule["Assign"]["caught"].as_str().unwrap_or_else(|| panic!("{name} drops the error"));
            assert!(
                kept.contains("errorOutput.Error") && kept.contains("errorOutput.Cause"),
                "{name}: {kept}"
            );
        }
    });
    let close = &deployed("import")["States"]["CloseStopped"]["Arguments"];
    assert_eq!(close["FunctionName"], "${CloseImportArn}");
    assert_eq!(close["Payload"]["error"], "{% $caught %}");
}

#[test]
fn the_function_that_runs_a_task_also_gives_it_up() {
    let maintenance = deployed("maintenance");
    for (state, function) in
        [("Rollback", "RollbackImportArn"), ("Verify", "VerifyImportArn"), ("Export", "ExportReportArn")]
    {
        let work = &maintenance["States"][state];
        let [caught] = rules(work, "Catch") else { panic!("{state} has other catches") };
        assert_eq!(errors(caught), ["States.ALL"], "{state}");
        let give_up = &maintenance["States"][caught["Next"].as_str().unwrap()];
        for task in [work, give_up] {
            assert_eq!(task["Arguments"]["FunctionName"], format!("${{{function}}}"), "{state}");
        }
        assert!(work["Arguments"]["Payload"].get("error").is_none(), "{state}");
        assert_eq!(give_up["Arguments"]["Payload"]["error"], "{% $caught %}", "{state}");
    }
}
