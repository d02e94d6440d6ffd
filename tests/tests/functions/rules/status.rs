//! The states of a job, and the ways from one to another.

use shared::domain::status::Status;

#[test]
fn names_round_trip() {
    for status in Status::ALL {
        assert_eq!(status.as_str().parse(), Ok(*status));
        assert_eq!(serde_json::to_value(status).expect("json"), status.as_str());
    }
    assert!("done".parse::<Status>().is_err());
}

#[test]
fn every_state_is_reachable_and_every_unfinished_one_can_end() {
    for status in Status::ALL {
        let reachable = *status == Status::Pending || Status::ALL.iter().any(|from| from.may_become(*status));
        assert!(reachable, "{status:?}");
        if !status.is_final() {
            assert!(status.may_become(Status::Failed) && status.may_become(Status::Cancelled), "{status:?}");
        }
    }
}
