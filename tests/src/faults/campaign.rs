//! All cases of one subject, and what must hold after each.

use super::case::{Case, Fault, Prepared};
use super::subjects::Subject;
use crate::objects::RequestFault;
use crate::wire::{Asked, Cut};
use futures_util::{StreamExt, stream};
use std::time::{Duration, Instant};

/// Which cases are run.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Faults at every nth request to the database, and at each COMMIT.
    pub everywhere: Vec<(Fault, usize)>,
    /// Faults at each COMMIT only.
    pub at_commits: Vec<Fault>,
    /// Faults at every nth request to S3, and at the last one.
    pub at_s3: Vec<(Fault, usize)>,
    /// This request only.
    pub only: Option<usize>,
    /// How many cases run at a time.
    pub at_a_time: usize,
}

/// What the cases of a subject came to.
#[derive(Debug)]
pub struct Report {
    pub name: &'static str,
    /// Requests to the database and to S3 in a run without a fault.
    pub requests: usize,
    /// Cases in which something was taken away.
    pub faults: usize,
    /// What was broken: fault, request, and the difference.
    pub failures: Vec<String>,
    pub took: Duration,
}

/// Runs the subject's cases.
pub async fn run_subject(subject: &'static Subject, scope: &Scope) -> Report {
    let begun = Instant::now();
    let mut report =
        Report { name: subject.name, requests: 0, faults: 0, failures: Vec::new(), took: Duration::ZERO };
    let prepared = Prepared::new(subject).await;
    match expect(&prepared).await {
        Ok(expected) => {
            report.requests = expected[0].asked.len() + expected[0].s3_requests;
            run_cases(&prepared, &expected, scope, &mut report).await;
        }
        Err(broken) => report.failures.push(format!("{} without a fault: {broken}", subject.name)),
    }
    report.took = begun.elapsed();
    report
}

/// What a case may come to: what a run without a fault comes to, and, of an import that is registered, one without S3.
async fn expect(prepared: &Prepared) -> Result<Vec<Case>, String> {
    let mut expected = vec![prepared.run(None, false).await?];
    if prepared.subject.registers {
        let without_s3 = Fault::S3(RequestFault::ResetFromNow);
        let last = expected[0].s3_requests;
        expected.push(prepared.run(Some((last, without_s3)), true).await?);
    }
    Ok(expected)
}

async fn run_cases(prepared: &Prepared, expected: &[Case], scope: &Scope, report: &mut Report) {
    // Run twice without a fault, a step has the effect of one run: else no comparison would say anything.
    let twice = prepared.run(None, true).await;
    report.failures.extend(broken(prepared, expected, "twice, without a fault", twice));
    let at_s3 = plan_s3(expected[0].s3_requests, scope);
    let cases = plan(&expected[0].asked, scope).chain(at_s3);
    // The library of the migrations waits without a bound; Lambda's time-out ends the function.
    let is_bounded = |fault: Fault| prepared.subject.name != "migrate" || fault != Fault::Wire(Cut::Silent);
    let cases: Vec<_> = cases.filter(|(_, fault)| is_bounded(*fault)).collect();
    let run = |(number, fault): (usize, Fault)| async move {
        (number, fault, prepared.run(Some((number, fault)), true).await)
    };
    let mut done = stream::iter(cases).map(run).buffer_unordered(scope.at_a_time);
    while let Some((number, fault, case)) = done.next().await {
        report.faults += usize::from(case.as_ref().map_or(true, |case| case.was_hit));
        let name = format!("--only {} --cut {number} --fault {}", prepared.subject.name, fault.name());
        report.failures.extend(broken(prepared, expected, &name, case));
    }
}

/// The requests that are cut, and how. A run with a fault may ask a little more than one without.
fn plan(asked: &[Asked], scope: &Scope) -> impl Iterator<Item = (usize, Fault)> {
    let numbers = (1..=asked.len() + 2).filter(|number| scope.only.is_none_or(|only| only == *number));
    numbers.flat_map(move |number| {
        let what = asked.get(number - 1).copied();
        let is_commit = what == Some(Asked::Commit);
        let is_wanted = move |every: usize| number % every == 0 || is_commit || scope.only.is_some();
        let everywhere =
            scope.everywhere.iter().filter(move |(_, every)| is_wanted(*every)).map(|(fault, _)| fault);
        let at_commit = scope.at_commits.iter().filter(move |_| is_commit || scope.only.is_some());
        everywhere
            .chain(at_commit)
            // Rows have no answer of their own.
            .filter(move |fault| what != Some(Asked::Rows) || !needs_answer(**fault))
            .map(move |fault| (number, *fault))
    })
}

fn plan_s3(requests: usize, scope: &Scope) -> impl Iterator<Item = (usize, Fault)> {
    // The SDK's own repetitions come on top of those of a run without a fault.
    let numbers = (1..=requests).filter(|number| scope.only.is_none_or(|only| only == *number));
    numbers.flat_map(move |number| {
        let is_wanted = move |every: usize| number % every == 0 || number == requests || scope.only.is_some();
        let wanted = scope.at_s3.iter().filter(move |(_, every)| is_wanted(*every));
        wanted.map(move |(fault, _)| (number, *fault))
    })
}

fn needs_answer(fault: Fault) -> bool {
    matches!(fault, Fault::Wire(Cut::After | Cut::Half | Cut::Silent) | Fault::Kill { after: true })
}

/// The promises that this case breaks.
fn broken(prepared: &Prepared, expected: &[Case], name: &str, case: Result<Case, String>) -> Option<String> {
    let case = match case {
        Ok(case) => case,
        Err(broken) => return Some(format!("{name}: {broken}")),
    };
    let mut broken = Vec::new();
    let should = prepared.hide_new(&expected[0].last);
    let differs = prepared.subject.answers_differ;
    if let Some(first) = &case.first {
        let is_as_expected = prepared.hide_new(first) == should || (differs && first.is_success());
        if !first.is_to_be_repeated() && !is_as_expected {
            broken.push(format!("with the fault it answered {first:?}"));
        }
    }
    let last = prepared.hide_new(&case.last);
    if case.last.is_to_be_repeated() {
        broken.push(format!("without the fault it answered {:?}", case.last));
    } else if !differs && last != should {
        broken.push(format!("it answered  {last}\n    not          {should}"));
    }
    if !expected.iter().any(|expected| case.snapshot == expected.snapshot) {
        broken.extend(case.snapshot.differences(&expected[0].snapshot));
    }
    (!broken.is_empty()).then(|| format!("{name}:\n    {}", broken.join("\n    ")))
}
