//! Tests every function on a real PostgreSQL and a real S3 protocol, each test on a database of its own. A module is a
//! station of the import or a side of the system.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its environment and this machine's clock, and writes SQL of its own"
)]
#![allow(clippy::unwrap_used, reason = "clippy allows it in test functions, but not in their helpers")]

mod process;

mod rules {
    mod buckets;
    mod csv_texts;
    pub(crate) mod deliveries;
    mod idempotency_keys;
    mod json;
    mod layouts;
    mod object_keys;
    mod pace;
    mod requests;
    mod status;
    mod words;
}
mod open {
    mod disk;
    mod manifests;
    mod names;
    mod repeated;
    mod requests;
    mod starts;
    mod unreadable_objects;
}
mod bounds {
    mod files;
    mod keys;
    mod lists;
    mod table;
}
mod line {
    mod abandoned;
    mod order;
    mod waiting;
    mod woken;
}
mod load {
    mod binary_copy;
    mod checked_as_loaded;
    mod loader;
    mod other_readers;
    mod real_files;
    mod record_reader;
    mod records;
    mod rejected_files;
    mod warnings;
}
mod staging {
    mod cleared;
    mod lost;
}
mod mark {
    mod both_ways;
    mod oversized_bucket;
}
mod decide {
    mod approval_stands;
    mod approve_and_cancel;
    mod insert_estimate;
    mod mend;
    mod mend_ghosts;
}
mod insert {
    mod production_changed;
    mod sorted_ahead;
}
mod verify {
    mod recount;
    mod tidy_up;
}
mod rollback {
    mod concurrency;
    mod deletion;
    mod in_use;
    mod references;
}
mod export {
    mod made_again;
    mod rejects;
    mod reports;
}
mod outbox {
    mod delivery;
    mod giving_up;
}
mod liveness {
    mod beats;
    mod tokens;
}
mod sweep {
    mod asked_again;
    mod dead_executions;
    mod idempotency_keys;
    mod retention;
    mod turns;
    mod unfinished_work;
}
mod import {
    mod beside_an_application;
    mod delayed;
    mod end_to_end;
    mod history;
    mod progress;
    mod results;
    mod state_machine;
}
mod http {
    mod bodies;
    mod callers;
    mod check_files;
    mod create_community;
    mod files;
    mod idempotency;
    mod join_community;
    mod maintenance;
    mod mend;
    mod queue_processing {
        mod client;
        mod start;
        mod takeover;
    }
    mod run_migration;
    mod uploads;
}
mod database {
    mod adoption;
    mod adoption_history;
    mod adoption_summary;
    mod legacy_migration_jobs;
    mod schema;
}
mod faults {
    mod documented;
    mod messages;
}
mod connections {
    mod answers;
    mod frozen;
    mod killed;
    mod outage;
}
