//! What the campaign puts to the test: the steps of the state machines and the POSTs, each in the state in which it does the most.

mod posts;
mod steps;

use crate::World;
use crate::call::Call;
use futures_util::future::LocalBoxFuture;

/// A step or a POST.
pub struct Subject {
    /// Its name on the command line: the function, and what is special about its state.
    pub name: &'static str,
    /// Makes the state before the call, and the call.
    pub(super) prepare: for<'a> fn(&'a World) -> LocalBoxFuture<'a, Call>,
    /// Messages of the outbox are due when it is called.
    pub(super) delivers: bool,
    /// A schedule calls it again and again. What it passes over, since the server has not noticed yet that an earlier call was cut off,
    /// is left to the call after it.
    pub(super) is_scheduled: bool,
    /// Parts of the ARNs of executions that were stopped.
    pub(super) stopped: &'static [&'static str],
    /// An import may be registered while S3 is away. Then its files are frozen when it opens.
    pub(super) registers: bool,
    /// Made once more, the call answers what was left to do, not what was done. Only what it leaves behind is compared.
    pub(super) answers_differ: bool,
}

impl Subject {
    const fn new(name: &'static str, prepare: for<'a> fn(&'a World) -> LocalBoxFuture<'a, Call>) -> Self {
        Self {
            name,
            prepare,
            delivers: false,
            is_scheduled: false,
            stopped: &[],
            registers: false,
            answers_differ: false,
        }
    }

    const fn with_other_answers(self) -> Self {
        Self { answers_differ: true, ..self }
    }

    const fn scheduled(self) -> Self {
        Self { is_scheduled: true, answers_differ: true, ..self }
    }

    const fn registering(self) -> Self {
        Self { registers: true, ..self }
    }
}

macro_rules! prepared_by {
    ($prepare:path) => {
        |world| Box::pin($prepare(world))
    };
}

/// All of them, in the order of an import's life.
pub const SUBJECTS: &[Subject] = &[
    Subject::new("migrate", prepared_by!(steps::nothing)).with_other_answers(),
    Subject::new("open", prepared_by!(steps::open)),
    Subject::new("open-manifest", prepared_by!(steps::open_manifest)),
    Subject::new("open-bad-name", prepared_by!(steps::open_bad_name)),
    Subject::new("open-attempt", prepared_by!(steps::open_attempt)),
    Subject::new("open-busy", prepared_by!(steps::open_busy)),
    Subject::new("open-wait", prepared_by!(steps::open_wait)),
    Subject::new("open-woken", prepared_by!(steps::open_woken)),
    Subject::new("load", prepared_by!(steps::load)),
    Subject::new("load-rejects", prepared_by!(steps::load_rejects)),
    Subject::new("load-fault", prepared_by!(steps::load_fault)),
    Subject::new("load-mended", prepared_by!(steps::load_mended)),
    Subject::new("mark-plan", prepared_by!(steps::mark_plan)),
    Subject::new("mark-chunk", prepared_by!(steps::mark_chunk)),
    Subject::new("validate", prepared_by!(steps::validate)),
    Subject::new("await-approval", prepared_by!(steps::await_approval)),
    Subject::new("insert", prepared_by!(steps::insert)),
    Subject::new("insert-late", prepared_by!(steps::insert_late)),
    Subject::new("verify", prepared_by!(steps::verify)),
    Subject::new("close", prepared_by!(steps::close)),
    Subject::new("close-empty", prepared_by!(steps::close_empty)),
    Subject::new("close-failed", prepared_by!(steps::close_failed)),
    Subject::new("close-cancelled", prepared_by!(steps::close_cancelled)),
    Subject::new("close-continued", prepared_by!(steps::close_continued)),
    Subject::new("close-hands-over", prepared_by!(steps::close_hands_over)),
    Subject::new("rollback", prepared_by!(steps::rollback)),
    Subject::new("rollback-given-up", prepared_by!(steps::rollback_given_up)).with_other_answers(),
    Subject::new("verify-task", prepared_by!(steps::verify_task)),
    Subject::new("export-duplicates", prepared_by!(steps::export_duplicates)),
    Subject::new("export-report", prepared_by!(steps::export_report)),
    Subject::new("export-rejects", prepared_by!(steps::export_rejects)),
    Subject {
        delivers: true,
        stopped: &["-stopped", ":maintenance:"],
        ..Subject::new("sweep", prepared_by!(steps::sweep)).scheduled()
    },
    Subject::new("expire-keys", prepared_by!(steps::expire_keys)).scheduled(),
    Subject::new("post-communities", prepared_by!(posts::communities)),
    Subject::new("post-join", prepared_by!(posts::join)),
    Subject::new("post-join-without-key", prepared_by!(posts::join_without_key)).with_other_answers(),
    Subject::new("post-queue-processing", prepared_by!(posts::queue_processing)).registering(),
    Subject::new("post-queue-processing-without-key", prepared_by!(posts::queue_processing_without_key))
        .registering()
        .with_other_answers(),
    Subject::new("post-migrations-run", prepared_by!(posts::run_migration)).registering(),
    Subject::new("post-migrations-run-without-key", prepared_by!(posts::run_migration_without_key))
        .registering()
        .with_other_answers(),
    Subject::new("post-uploads", prepared_by!(posts::declare)),
    Subject::new("post-uploads-parts", prepared_by!(posts::declare_parts)),
    Subject::new("post-complete", prepared_by!(posts::complete)),
    Subject::new("post-complete-parts", prepared_by!(posts::complete_parts)),
    Subject::new("post-check", prepared_by!(posts::check)),
    Subject::new("post-approve", prepared_by!(posts::approve)),
    Subject::new("post-approve-without-key", prepared_by!(posts::approve_without_key)).with_other_answers(),
    Subject::new("post-approve-busy", prepared_by!(posts::approve_busy)),
    Subject::new("post-cancel", prepared_by!(posts::cancel)),
    Subject::new("post-cancel-without-key", prepared_by!(posts::cancel_without_key)).with_other_answers(),
    Subject::new("post-retry", prepared_by!(posts::retry)),
    Subject::new("post-retry-without-key", prepared_by!(posts::retry_without_key)).with_other_answers(),
    Subject::new("post-mend-replace", prepared_by!(posts::replace)),
    Subject::new("post-mend-leave-out", prepared_by!(posts::leave_out)),
    Subject::new("post-rollback", prepared_by!(posts::rollback)),
    Subject::new("post-rollback-without-key", prepared_by!(posts::rollback_without_key)).with_other_answers(),
    Subject::new("post-verify", prepared_by!(posts::verify)),
    Subject::new("post-exports", prepared_by!(posts::export)),
    Subject::new("post-exports-without-key", prepared_by!(posts::export_without_key)).with_other_answers(),
    Subject::new("delete-staging", prepared_by!(posts::clear_staging)),
];
