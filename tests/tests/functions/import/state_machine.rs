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

/// A task that invokes a function.
fn is_step(state: &Value) -> bool {
    state["Resource"].as_str().is_some_and(|resource| resource.contains(":lambda:"))
}

#[test]
fn every_step_retries_transient_and_internal_errors_and_no_other_error() {
    for_each_state(&mut |name, state| {
        if !is_step(state) {
            return;
        }
        let [final_errors, transient, crash] = rules(state, "Retry") else {
            panic!("{name} has other retry rules")
        };
        assert_eq!(final_errors["MaxAttempts"], 0, "{name}");
        assert_eq!(errors(transient), ["Transient", "Lambda.TooManyRequestsException"], "{name}");
        for kind in StepErrorKind::ALL {
            let is_final = !matches!(kind, StepErrorKind::Transient | StepErrorKind::Internal);
            assert_eq!(is_final, errors(final_errors).contains(&kind.as_str()), "{name}: {kind:?}");
        }
        for error in ["Internal", "Lambda.ServiceException", "States.TaskFailed"] {
            assert!(errors(crash).contains(&error), "{name}: {error}");
        }
    });
}

/// The seconds between the tries of a retrier without jitter (Amazon States Language, "Retrying after error").
fn pauses(retrier: &Value) -> Vec<f64> {
    let number = |member: &str| retrier[member].as_f64().unwrap_or_else(|| panic!("{member}: {retrier}"));
    let (first, rate, most) = (number("IntervalSeconds"), number("BackoffRate"), number("MaxDelaySeconds"));
    let tries = retrier["MaxAttempts"].as_i64().unwrap();
    std::iter::successors(Some(first), |pause| Some(f64::min(pause * rate, most)))
        .take(usize::try_from(tries).unwrap())
        .collect()
}

#[test]
fn what_passes_is_repeated_for_as_long_as_an_outage_lasts() {
    let (mut steps, mut opening) = (0, 0);
    for_each_state(&mut |name, state| {
        if state["Type"] != "Task" {
            return;
        }
        let patient = rules(state, "Retry")
            .iter()
            .find(|rule| errors(rule).iter().any(|e| matches!(*e, "Transient" | "States.ALL")));
        let patient = patient.unwrap_or_else(|| panic!("{name} does not wait"));
        assert!(patient.get("JitterStrategy").is_none(), "{name}: full jitter halves the time on average");
        let pauses = pauses(patient);
        let (sum, longest) = (pauses.iter().sum::<f64>(), pauses.iter().copied().fold(0.0, f64::max));
        assert_eq!(pauses[..3], [1.0, 2.0, 4.0], "{name}: a short outage costs little");
        if matches!(name, "Open" | "WaitForMerchant" | "KeepUnregistered") {
            opening += 1;
            assert!(sum >= 86_400.0 && longest <= 60.0, "{name}: {sum} s, {longest} s at a time");
        } else {
            steps += 1;
            assert!(sum >= 1_200.0 && longest <= 30.0, "{name}: {sum} s, {longest} s at a time");
        }
    });
    assert_eq!((steps, opening), (18, 3), "every task of both state machines");
}

#[test]
fn a_crash_is_tried_six_times_within_about_a_minute() {
    for_each_state(&mut |name, state| {
        for crash in rules(state, "Retry").iter().filter(|rule| errors(rule).contains(&"Internal")) {
            let pauses = pauses(crash);
            assert_eq!((pauses.len(), pauses.iter().sum::<f64>()), (6, 61.0), "{name}");
        }
    });
}

/// An upload is remembered by its execution alone until its job is registered.
#[test]
fn an_execution_without_a_job_leaves_its_input_to_the_sweep() {
    let import = deployed("import");
    let states = &import["States"];
    let [failed] = rules(&states["CloseStopped"], "Catch") else { panic!("CloseStopped has other catches") };
    assert_eq!((errors(failed), &failed["Next"]), (vec!["States.ALL"], &Value::from("KeepUnregistered")));
    assert!(failed.get("Assign").is_none(), "the first error is kept, not that of closing");
    let without_job = &states["HowItEnded"]["Choices"][0];
    let condition = without_job["Condition"].as_str().unwrap();
    assert!(condition.contains("job_id = null") && condition.contains("!= 'InvalidInput'"), "{condition}");
    assert_eq!(without_job["Next"], "KeepUnregistered");
    let keep = &states["KeepUnregistered"];
    assert_eq!(keep["Resource"], "arn:aws:states:::sqs:sendMessage", "it needs no function and no database");
    let message = &keep["Arguments"]["MessageBody"];
    assert_eq!(message["execution_arn"], "{% $states.context.Execution.Id %}");
    assert_eq!(message["input"], "{% $states.context.Execution.Input %}");
    assert_eq!(keep["Next"], "Failed");
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
        let stops = |rule: &&Value| errors(rule) == ["States.ALL"] && rule["Next"] != "KeepUnregistered";
        for rule in rules(state, "Catch").iter().filter(stops) {
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
