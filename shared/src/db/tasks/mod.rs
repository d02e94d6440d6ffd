//! The rows of `import_tasks`: one rollback, verification or export each.

mod ask;
mod exports;
mod run;

pub use ask::{ActiveTask, ask_again, ask_export, ask_rollback, ask_verify, find_active, promise_start};
pub use exports::{Export, export_at_close, list_exports};
pub use run::{
    Task, TaskState, UnfinishedTask, begin_step, delete_replaced, fence, finish, give_up, reports,
    take_unfinished,
};

use super::statement::statements;

statements! {
    "tasks":
    ACTIVE = "active";
    ASK_AGAIN = "ask_again";
    ASK_EXPORT = "ask_export";
    ASK_ROLLBACK = "ask_rollback";
    ASK_VERIFY = "ask_verify";
    BEAT = "beat";
    DELETE_REPLACED = "delete_replaced";
    EXPORTS = "exports";
    EXPORT_AT_CLOSE = "export_at_close";
    FENCE = "fence";
    FIND = "find";
    FINISH = "finish";
    GIVE_UP = "give_up";
    UNFINISHED = "unfinished";
}
