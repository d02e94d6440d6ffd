//! Words that stand in rows and answers are read back from their names.

use shared::domain::phase::Phase;
use shared::domain::task::{Action, ClaimedCodes, ExportKind, TaskStatus};

#[test]
fn every_phase_is_read_back_from_its_name() {
    for phase in Phase::ALL {
        assert_eq!(phase.as_str().parse(), Ok(*phase));
        assert_eq!(serde_json::to_value(phase).expect("json"), phase.as_str());
    }
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
