//! The kinds of messages to other services, which a transaction promises and the outbox keeps.

/// The kinds of messages: `outbox.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Starts the execution of an attempt.
    StartExecution,
    /// Stops an execution that was superseded.
    StopExecution,
    /// Wakes a waiting execution.
    TaskSuccess,
    /// Ends the wait of a cancelled job.
    TaskFailure,
    /// Publishes the event `ImportStateChanged`.
    StateChanged,
    /// Starts the execution of a task.
    StartMaintenance,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::StartExecution,
        Self::StopExecution,
        Self::TaskSuccess,
        Self::TaskFailure,
        Self::StateChanged,
        Self::StartMaintenance,
    ];

    /// Its word in the database and in the variable `DELIVERS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartExecution => "start_execution",
            Self::StopExecution => "stop_execution",
            Self::TaskSuccess => "task_success",
            Self::TaskFailure => "task_failure",
            Self::StateChanged => "state_changed",
            Self::StartMaintenance => "start_maintenance",
        }
    }

    /// The kind of this word.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}
