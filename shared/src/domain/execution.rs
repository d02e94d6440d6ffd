//! Names and ARNs of executions (AWS Step Functions, "resource types": `execution:{machine}:{name}`). A name is started once, so
//! that starting it again does nothing.

use super::ids::{JobId, TaskId};
use super::task::Action;

/// The execution of one attempt of an import.
pub fn name_of_attempt(job: JobId, attempt: i32) -> String {
    format!("{job}-{attempt}")
}

/// The execution of one task of the state machine `maintenance`.
pub fn name_of_task(action: Action, task: TaskId) -> String {
    format!("{action}-{task}")
}

/// The ARN of an execution of this state machine.
pub fn arn(machine: &str, name: &str) -> String {
    format!("{}:{name}", machine.replacen(":stateMachine:", ":execution:", 1))
}

/// The ARN of the state machine that an execution belongs to.
pub fn machine_of(execution: &str) -> String {
    let executions = execution.rsplit_once(':').map_or(execution, |(executions, _)| executions);
    executions.replacen(":execution:", ":stateMachine:", 1)
}
