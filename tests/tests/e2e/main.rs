//! The whole service on the local stack, driven as its users drive it: objects in S3, executions of the state
//! machine, the HTTP API. PostgreSQL is looked at, and changed only to play what happens around an import: codes
//! that appear, a rollback of another job, a server that lost unlogged tables.
//!
//! `cargo xtask test --only e2e` brings the stack up and names it in `ONCELOAD_STACK`. Each test has merchants of
//! its own, so all of them run beside each other, and waits for what it can see, never for a time.

mod afterwards;
mod api;
mod approval;
mod bad_files;
mod blocker;
mod by_hand;
mod client;
mod command_line;
mod command_line_after;
mod communities;
mod cors;
mod csv;
mod events;
mod front_door;
mod guards;
mod issuer;
mod killed;
mod logs;
mod lost_staging;
mod merchant;
mod moved;
mod office;
mod queue;
mod refusals;
mod rejected;
mod stack;
mod swept;
mod terminal;
mod tokens;
mod uploads;
