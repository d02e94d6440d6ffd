//! Tests the whole service on the local stack as its users use it: objects in S3, executions of the state machine, the
//! HTTP API, the command line. The tests read PostgreSQL, and write to it only to simulate what happens around an
//! import: codes that appear, a rollback of another job, a server that lost unlogged tables.
//!
//! `cargo xtask test --only e2e` brings the stack up and names it in `ONCELOAD_STACK`. Each test has merchants of its
//! own, so that all tests run concurrently, and waits for visible conditions, never for a fixed time. A test that stops
//! what all of them use is `ignored`, and runs after the others.

#![allow(
    clippy::disallowed_methods,
    reason = "a test reads its environment and this machine's clock, and writes SQL of its own"
)]

mod blocker;
mod csv;
mod issuer;
mod merchant;
mod stack;
mod sweep;

mod import {
    mod approval;
    mod end_to_end;
    mod killed;
    mod mend;
    mod names;
    mod outage;
    mod production_changed;
    mod queue;
    mod rejected_files;
    mod staging_lost;
    mod started_by_hand;
    mod unfinished_work;
    mod unreadable_files;
    mod unregistered;
}
mod http {
    mod client_recipe;
    mod communities;
    mod cors;
    mod maintenance;
    mod problems_and_lists;
    mod refusals;
    mod start_guard;
    mod tokens;
    mod uploads;
}
mod command_line {
    mod import;
    mod maintenance;
    mod mend;
    mod operator;
    mod shell;
}
mod observability {
    mod events;
    mod logs;
}
