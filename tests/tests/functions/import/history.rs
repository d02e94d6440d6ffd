//! An execution's history holds 25,000 events (AWS Step Functions quotas): the largest import fits, whatever happens to it. The
//! events are counted from the definition that is deployed.

use super::state_machine::deployed;
use serde_json::Value;
use shared::domain::buckets::MAX_CHUNKS;

const LIMIT: usize = 25_000;
/// The most files that a job may have.
const FILES: usize = shared::domain::source::MAX_FILES;

/// How an execution goes: the state that each Choice leads to, the errors that states end with, and repetitions.
struct Course<'a> {
    machine: &'a Value,
    chunks: usize,
    /// How often each task is repeated.
    repetitions: usize,
    /// `(state, error)`, each used once, in order.
    errors: Vec<(&'a str, &'a str)>,
    /// `(Choice, next)`, each used once, in order; afterwards a Choice takes its default.
    choices: Vec<(&'a str, &'a str)>,
}

impl Course<'_> {
    /// The events of the history until the execution ends or has reached `stop`.
    fn count_events(mut self, stop: Option<&str>) -> usize {
        // ExecutionStarted and ExecutionSucceeded or ExecutionFailed.
        let mut events = 2;
        let mut at = self.machine["StartAt"].as_str().unwrap().to_owned();
        for _ in 0..1000 {
            let state = &self.machine["States"][&at];
            events += count_state(state, self.count_items(&at), self.repetitions);
            if stop == Some(at.as_str()) {
                return events;
            }
            let Some(next) = self.next(&at, state) else { return events };
            at = next;
        }
        panic!("the execution goes in circles at {at}");
    }

    fn count_items(&self, state: &str) -> usize {
        if state == "LoadFiles" { FILES } else { self.chunks }
    }

    fn next(&mut self, name: &str, state: &Value) -> Option<String> {
        let take = |list: &mut Vec<(&str, &str)>| {
            let found = list.first().filter(|(of, _)| *of == name).map(|(_, what)| (*what).to_owned());
            if found.is_some() {
                list.remove(0);
            }
            found
        };
        if let Some(error) = take(&mut self.errors) {
            let caught = state["Catch"].as_array().unwrap().iter().find(|rule| {
                rule["ErrorEquals"].as_array().unwrap().iter().any(|of| *of == *error || of == "States.ALL")
            });
            return Some(
                caught.unwrap_or_else(|| panic!("{name} drops {error}"))["Next"].as_str()?.to_owned(),
            );
        }
        let next = take(&mut self.choices);
        next.or_else(|| state.get("Next").or(state.get("Default"))?.as_str().map(str::to_owned))
    }
}

/// The events of one visit to a state (AWS Step Functions API Reference, "HistoryEvent").
fn count_state(state: &Value, items: usize, repetitions: usize) -> usize {
    // Entered and Exited, except for states that end the execution.
    let around = 2;
    match state["Type"].as_str().unwrap() {
        "Task" => {
            // Scheduled, Started, Succeeded or Failed; Submitted where it waits for its token.
            let waits = state["Resource"].as_str().unwrap().ends_with(".waitForTaskToken");
            around + (3 + usize::from(waits)) * (1 + repetitions)
        }
        "Map" => {
            let inner = &state["ItemProcessor"];
            let mut of_item = 0;
            let mut at = inner["StartAt"].as_str();
            while let Some(name) = at {
                of_item += count_state(&inner["States"][name], 0, repetitions);
                at = inner["States"][name].get("Next").and_then(Value::as_str);
            }
            // MapStateStarted and MapStateSucceeded; MapIterationStarted and MapIterationSucceeded.
            around + 2 + items * (2 + of_item)
        }
        "Succeed" | "Choice" | "Pass" | "Wait" => around,
        "Fail" => 1,
        other => panic!("how many events has a {other}?"),
    }
}

/// The events of the tries that a state's retrier for `Transient` allows besides the first.
fn count_patience(state: &Value) -> usize {
    let rules = state["Retry"].as_array().unwrap();
    let transient = rules.iter().find(|rule| rule["ErrorEquals"][0] == "Transient").unwrap();
    let tries = usize::try_from(transient["MaxAttempts"].as_u64().unwrap()).unwrap();
    let waits = state["Resource"].as_str().unwrap().ends_with(".waitForTaskToken");
    // Scheduled, Started, Failed; Submitted where it waits for its token.
    tries * (3 + usize::from(waits))
}

fn course<'a>(machine: &'a Value, errors: &[(&'a str, &'a str)]) -> Course<'a> {
    let choices = vec![("WhatNext", "LoadFiles")];
    Course { machine, chunks: MAX_CHUNKS, repetitions: 0, errors: errors.to_vec(), choices }
}

#[test]
fn the_largest_import_with_three_losses_and_three_markings_fits_into_its_history() {
    let machine = deployed("import");
    let losses = [("InsertCodes", "StagingLost"); 3];
    let moved = [("InsertCodes", "CountMismatch"); 3];
    for repetitions in [0, 1] {
        let lossy = Course { repetitions, ..course(&machine, &losses) }.count_events(None);
        assert!(
            lossy < LIMIT,
            "three losses, tasks repeated {repetitions} times: {lossy} events in one history"
        );
        let marked_again = Course { repetitions, ..course(&machine, &moved) }.count_events(None);
        assert!(
            marked_again < LIMIT,
            "three markings, tasks repeated {repetitions} times: {marked_again} events"
        );
    }
    let lossy = course(&machine, &losses).count_events(None);
    assert!(lossy > FILES * 7, "each file has an iteration, and a task in it");
}

#[test]
fn a_day_in_line_costs_a_handful_of_events() {
    let machine = deployed("import");
    // Open, the Choice, the wait, and opening again.
    let asleep = Course { choices: vec![("WhatNext", "WaitForMerchant")], ..course(&machine, &[]) };
    let asleep = asleep.count_events(Some("WaitForMerchant"));
    assert!(asleep <= 16, "{asleep} events");
    for (name, state) in machine["States"].as_object().unwrap() {
        assert_ne!(state["Type"], "Wait", "{name}: whoever polls fills the history");
    }
    // Woken again and again, because people were quicker each time.
    let choices =
        std::iter::repeat_n(("WhatNext", "WaitForMerchant"), 100).chain([("WhatNext", "LoadFiles")]);
    let woken = Course { choices: choices.collect(), ..course(&machine, &[]) }.count_events(None);
    assert!(woken < LIMIT, "{woken} events");
}

#[test]
fn who_waits_a_day_in_line_ends_and_says_why() {
    let wait = &deployed("import")["States"]["WaitForMerchant"];
    assert_eq!(wait["TimeoutSeconds"], 86_400);
    let late = &wait["Catch"][0];
    assert_eq!((&late["ErrorEquals"][0], &late["Next"]), (&"States.Timeout".into(), &"CloseStopped".into()));
    let caught = &late["Assign"]["caught"];
    let cause: Value = serde_json::from_str(caught["Cause"].as_str().unwrap()).unwrap();
    assert_eq!(caught["Error"], "ImportInProgress");
    assert!(cause["errorMessage"].as_str().unwrap().starts_with("waited a day for other imports"), "{cause}");
}

/// The largest import meets an outage that uses up the patience of as many loaders as template.yaml allows at a time, and its
/// upload has waited a day for the database before.
#[test]
fn the_largest_import_that_meets_the_longest_outages_fits_into_its_history() {
    const MOST_AT_A_TIME: usize = 40;
    let machine = deployed("import");
    let states = &machine["States"];
    let template = std::fs::read_to_string(xtask::project::root().join("template.yaml")).unwrap();
    let parameter = template.split("  LoadConcurrency:").nth(1).unwrap();
    assert!(parameter.trim_start().contains(&format!("MaxValue: {MOST_AT_A_TIME}\n")), "LoadConcurrency");
    let import = course(&machine, &[]).count_events(None);
    let a_day = count_patience(&states["Open"]);
    assert!((4_320..4_400).contains(&a_day), "{a_day} events in a day");
    let loaders =
        MOST_AT_A_TIME * count_patience(&states["LoadFiles"]["ItemProcessor"]["States"]["LoadFile"]);
    assert!(import + a_day + loaders < LIMIT, "{import} + {a_day} + {loaders} events");
    // 22 tries are an outage of ten minutes. With the default of four at a time, there is room for one in each of ten steps.
    let ten_minutes = 22 * 3;
    let losses = [("InsertCodes", "CountMismatch"); 3];
    let marked_again = course(&machine, &losses).count_events(None);
    assert!(marked_again + 10 * 4 * ten_minutes < LIMIT, "{marked_again} events and ten outages");
}
