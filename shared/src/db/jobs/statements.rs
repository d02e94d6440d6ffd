//! The statements about `codes_import_jobs`.

use crate::db::statement::statements;

statements! {
    "jobs":
    ACTIVE_SOURCE = "active_source";
    ADD_ERRORS = "add_errors";
    ADD_NOTE = "add_note";
    ADOPT = "adopt";
    APPEND_ERROR = "append_error";
    APPROVE = "approve";
    AWAIT_APPROVAL = "await_approval";
    CANCEL = "cancel";
    CHECKING = "checking";
    CLEAR_STAGING = "clear_staging";
    COMPLETE = "complete";
    COMPLETE_INSERTED = "complete_inserted";
    DELAY = "delay";
    DELAYED = "delayed";
    END = "end";
    EXPIRE_STAGING = "expire_staging";
    FENCE = "fence";
    FIND = "find";
    FIND_BY_EXECUTION = "find_by_execution";
    FIND_START = "find_start";
    FREEZE = "freeze";
    FREEZE_AGAIN = "freeze_again";
    GO_ON = "go_on";
    HAND_OVER = "hand_over";
    HOLDER = "holder";
    IDENTITIES = "identities";
    INSERTED = "inserted";
    INSERTING = "inserting";
    JOIN_LINE = "join_line";
    KEEP_TURN = "keep_turn";
    LEASE_HOLDER = "lease_holder";
    LEAVE_LINE = "leave_line";
    LOCK = "lock";
    LOCK_STAGING = "lock_staging";
    LOST_WAKES = "lost_wakes";
    MENDED = "mended";
    MERCHANT_TOTAL = "merchant_total";
    NEXT_ATTEMPT = "next_attempt";
    OVERDUE = "overdue";
    QUEUE = "queue";
    RECHECK = "recheck";
    REGISTER = "register";
    REPLACE_TOKEN = "replace_token";
    RETRY = "retry";
    ROLLBACK_STATE = "rollback_state";
    ROLLED_BACK = "rolled_back";
    SET_SOURCE = "set_source";
    SET_SPLIT_POINTS = "set_split_points";
    STAGING_CREATED = "staging_created";
    STAGING_LOST = "staging_lost";
    STALE_STAGING = "stale_staging";
    SUPERSEDE = "supersede";
    TAKE_LEASE = "take_lease";
    UNFINISHED = "unfinished";
    VALIDATED = "validated";
    VALIDATING = "validating";
    VERIFIED = "verified";
    VIEW = "view";
    WOKEN = "woken";
}
