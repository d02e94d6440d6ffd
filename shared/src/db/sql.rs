//! Every statement with a fixed text. A test prepares each against the migrated schema.

use super::rows::Statement;

macro_rules! statements {
    ($($name:ident = $file:literal;)*) => {
        $(pub const $name: Statement = Statement {
            name: $file,
            sql: include_str!(concat!("sql/", $file, ".sql")),
        };)*

        pub const ALL: &[Statement] = &[$($name),*];
    };
}

statements! {
    POOL_PING = "pool.ping";
    USERS_CALLER = "users.caller";
    UPLOADS_DECLARE = "uploads.declare";
    UPLOADS_SET_MULTIPART = "uploads.set_multipart";
    UPLOADS_FIND = "uploads.find";
    UPLOADS_COMPLETE = "uploads.complete";
    UPLOADS_REJECT = "uploads.reject";
    UPLOADS_FORGET = "uploads.forget";
    USER_PROFILES_CLAIM = "user_profiles.claim";
    USER_PROFILES_START_CLOCK = "user_profiles.start_clock";
    USER_PROFILES_HOLD = "user_profiles.hold";
    USER_PROFILES_LOCK = "user_profiles.lock";
    USER_PROFILES_BEAT = "user_profiles.beat";
    USER_PROFILES_SHOW = "user_profiles.show";
    IDEMPOTENCY_KEYS_CLAIM = "idempotency_keys.claim";
    IDEMPOTENCY_KEYS_STORE = "idempotency_keys.store";
    IDEMPOTENCY_KEYS_FORGET = "idempotency_keys.forget";
    JOBS_REGISTER = "jobs.register";
    JOBS_QUEUE = "jobs.queue";
    JOBS_IN_THE_WAY = "jobs.in_the_way";
    JOBS_SUPERSEDE = "jobs.supersede";
    MIGRATION_JOBS_RUN = "migration_jobs.run";
    MIGRATION_JOBS_ACTIVE = "migration_jobs.active";
    JOBS_FIND_START = "jobs.find_start";
    JOBS_ADOPT = "jobs.adopt";
    JOBS_STATE = "jobs.state";
    JOBS_SET_SOURCE = "jobs.set_source";
    JOBS_FREEZE = "jobs.freeze";
    JOBS_ACTIVE_SOURCE = "jobs.active_source";
    JOBS_TAKE_LEASE = "jobs.take_lease";
    JOBS_WAIT = "jobs.wait";
    JOBS_SET_SPLIT_POINTS = "jobs.set_split_points";
    JOBS_STAGING_CREATED = "jobs.staging_created";
    JOBS_FENCE = "jobs.fence";
    JOBS_STAGING_LOST = "jobs.staging_lost";
    JOBS_RECHECK = "jobs.recheck";
    JOBS_CHECKING = "jobs.checking";
    JOBS_VALIDATING = "jobs.validating";
    JOBS_VALIDATED = "jobs.validated";
    JOBS_AWAIT_APPROVAL = "jobs.await_approval";
    JOBS_REPLACE_TOKEN = "jobs.replace_token";
    JOBS_APPROVE = "jobs.approve";
    JOBS_CANCEL = "jobs.cancel";
    JOBS_RETRY = "jobs.retry";
    JOBS_INSERTED = "jobs.inserted";
    JOBS_VERIFIED = "jobs.verified";
    JOBS_IDENTITIES = "jobs.identities";
    JOBS_LEASE_HOLDER = "jobs.lease_holder";
    JOBS_COMPLETE_INSERTED = "jobs.complete_inserted";
    JOBS_MERCHANT_TOTAL = "jobs.merchant_total";
    JOBS_APPEND_ERROR = "jobs.append_error";
    JOBS_BY_EXECUTION = "jobs.by_execution";
    JOBS_COMPLETE = "jobs.complete";
    JOBS_END = "jobs.end";
    JOBS_ADD_ERRORS = "jobs.add_errors";
    FILES_FREEZE = "files.freeze";
    FILES_LIST = "files.list";
    FILES_ONE = "files.one";
    FILES_SET_LAYOUTS = "files.set_layouts";
    FILES_CLAIM = "files.claim";
    FILES_LOADED = "files.loaded";
    FILES_FAILED = "files.failed";
    REJECTS_CLEAR = "rejects.clear";
    PROGRESS_BEAT = "progress.beat";
    CHUNKS_CLEAR = "chunks.clear";
    CHUNKS_PLAN = "chunks.plan";
    CHUNKS_LIST = "chunks.list";
    CHUNKS_LOCK = "chunks.lock";
    CHUNKS_MARKED = "chunks.marked";
    CHUNKS_LATE = "chunks.late";
    MERCHANTS_TRY_LOCK = "merchants.try_lock";
    MERCHANTS_EPOCH = "merchants.epoch";
    CODES_VERIFY = "codes.verify";
    CODES_VACUUM = "codes.vacuum";
    OUTBOX_ADD = "outbox.add";
    OUTBOX_CLAIM = "outbox.claim";
    OUTBOX_DELIVERED = "outbox.delivered";
    OUTBOX_FAILED = "outbox.failed";
    TASKS_GET = "tasks.get";
    TASKS_ACTIVE = "tasks.active";
    TASKS_ASK_ROLLBACK = "tasks.ask_rollback";
    TASKS_ASK_VERIFY = "tasks.ask_verify";
    TASKS_ASK_EXPORT = "tasks.ask_export";
    TASKS_EXPORT_AT_CLOSE = "tasks.export_at_close";
    TASKS_FENCE = "tasks.fence";
    TASKS_FINISH = "tasks.finish";
    TASKS_GIVE_UP = "tasks.give_up";
    TASKS_BEAT = "tasks.beat";
    TASKS_EXPORTS = "tasks.exports";
    TASKS_SILENT = "tasks.silent";
    JOBS_CLEAR_STAGING = "jobs.clear_staging";
    ROLLBACK_STATE = "rollback.state";
    ROLLBACK_PARTS = "rollback.parts";
    ROLLBACK_DELETE_PART = "rollback.delete_part";
    ROLLBACK_DELETE_REST = "rollback.delete_rest";
    ROLLBACK_KEPT = "rollback.kept";
    ROLLBACK_RAISE_EPOCH = "rollback.raise_epoch";
    ROLLBACK_DONE = "rollback.done";
    READ_JOBS = "read.jobs";
    SWEEP_RUNNING = "sweep.running";
    SWEEP_EXPIRED = "sweep.expired";
    SWEEP_STALE_STAGING = "sweep.stale_staging";
    SWEEP_STAGING_CLEARED = "sweep.staging_cleared";
    IDEMPOTENCY_KEYS_EXPIRE = "idempotency_keys.expire";
    COMMUNITIES_CREATE = "communities.create";
    COMMUNITIES_EXISTS = "communities.exists";
    COMMUNITY_TAGS_ADD = "community_tags.add";
    COMMUNITY_IMAGES_ADD = "community_images.add";
    COMMUNITY_MEMBERS_JOIN = "community_members.join";
}
