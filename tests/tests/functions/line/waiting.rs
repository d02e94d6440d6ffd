//! Imports in line for a merchant's lease.

use onceload_tests::execution::budget;
use onceload_tests::{Run, State, World};
use serde_json::json;
use shared::lambda::App;

/// Imports of one file each, `0.csv` and so on, whose executions have not begun.
pub(super) fn imports<const N: usize>(world: &World) -> [Run; N] {
    std::array::from_fn(|i| world.import_file(&format!("{i}.csv"), format!("code\nC{i}\n")))
}

/// Opens each import. The first one loads, and the others sleep in line behind it.
pub(super) async fn line_up(runs: &mut [Run]) {
    let [first, others @ ..] = runs else { panic!("nobody to line up") };
    first.until(State::LoadFiles).await.expect(State::LoadFiles);
    for run in others {
        run.until(State::LoadFiles).await.expect(State::WaitForMerchant);
    }
}

/// How often the job was promised to be woken.
pub(super) async fn count_wakes(world: &World, run: &Run) -> usize {
    world.read_outbox(run.job).await.iter().filter(|kind| *kind == "task_success").count()
}

/// Status and phase of a job.
pub(super) async fn read_place(world: &World, run: &Run) -> (String, String) {
    let job = world.read_job(run.job).await;
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    (text("status"), text("phase"))
}

pub(super) fn place(status: &str, phase: &str) -> (String, String) {
    (status.to_owned(), phase.to_owned())
}

pub(super) async fn sweep(app: &App) -> sweep_imports::Output {
    sweep_imports::handle(app.clone(), json!({}), budget()).await.unwrap()
}
