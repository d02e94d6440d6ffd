//! Words that stand in rows and answers are read back from their names.

use serde_json::json;
use shared::domain::phase::Phase;
use shared::domain::task::{Action, ClaimedCodes, ExportKind, TaskStatus};
use shared::domain::warning::WarningReason;

#[test]
fn every_phase_is_read_back_from_its_name() {
    for phase in Phase::ALL {
        assert_eq!(phase.as_str().parse(), Ok(*phase));
        assert_eq!(serde_json::to_value(phase).expect("json"), phase.as_str());
    }
}

#[test]
fn the_phases_are_a_closed_list_in_the_documentation_of_the_api() {
    let api = include_str!("../../../../docs/openapi.yaml");
    let listed = api.lines().find(|line| line.contains("enum: [registered")).expect("the phases");
    let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
    assert_eq!(listed.trim(), format!("enum: [{}]", names.join(", ")));
}

#[test]
fn every_word_of_a_task_is_read_back_from_its_name() {
    for kind in ExportKind::ALL {
        assert_eq!(ExportKind::by_name(kind.as_str()), Some(*kind));
        assert_eq!(serde_json::to_value(kind).expect("json"), kind.as_str());
    }
    assert_eq!(ClaimedCodes::by_name("burn"), None);
    assert_eq!(Action::Rollback.to_string(), "rollback");
    assert_eq!(TaskStatus::by_name("done"), Some(TaskStatus::Done));
}

/// The names in `match self { Self::A => "a" }`.
fn names(source: &str) -> Vec<&str> {
    source
        .lines()
        .filter_map(|line| line.split_once("=> \"")?.1.split_once('"'))
        .map(|(name, _)| name)
        .collect()
}

/// An operator reads the words in the README, an engineer in docs/ARCHITECTURE.md, a client in docs/openapi.yaml.
#[test]
fn every_reject_fault_and_warning_is_documented() {
    let readme = include_str!("../../../../README.md");
    let architecture = include_str!("../../../../docs/ARCHITECTURE.md");
    let api = include_str!("../../../../docs/openapi.yaml");
    let is_name =
        |name: &&str| name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit());
    let rejects = names(include_str!("../../../../shared/src/domain/row.rs"));
    let faults = names(include_str!("../../../../shared/src/domain/fault.rs")).into_iter().filter(is_name);
    let listed = api.lines().find(|line| line.contains("enum: [absent_columns")).expect("the warnings");
    let warnings: Vec<&str> =
        listed.trim().trim_start_matches("enum: [").trim_end_matches(']').split(", ").collect();
    assert!(
        warnings.iter().all(|name| serde_json::from_value::<WarningReason>(json!(name)).is_ok()),
        "{warnings:?}"
    );
    assert_eq!((rejects.len(), warnings.len()), (12, WarningReason::COUNT), "{rejects:?}");
    for name in rejects.into_iter().chain(warnings).chain(["nothing_staged"]) {
        let quoted = format!("`{name}`");
        assert!(readme.contains(&quoted) && architecture.contains(&quoted), "{name}");
    }
    let listed = api.lines().find(|line| line.contains("enum: [empty_file")).expect("the faults");
    for name in faults {
        let quoted = format!("`{name}`");
        assert!(
            readme.contains(&quoted) && architecture.contains(&quoted) && listed.contains(name),
            "{name}"
        );
    }
}
