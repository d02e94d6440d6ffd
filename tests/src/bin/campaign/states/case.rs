//! One state with one fault: an import goes there, is hurt, and is brought to its end by an operator who approves, retries and asks
//! again. Then the tables, the codes, the lease, the tasks and the files are compared with what the file says.

use super::faults::Fault;
use super::nodes::Node;
use super::ways::{self, PATIENCE, Way, name, rule};
use crate::Outcome;
use crate::gate::{Act, Gate, Rule};
use crate::local::Local;
use crate::operator::{self, Deed};
use crate::rest;
use aws_sdk_sfn::types::ExecutionStatus;
use serde_json::json;
use std::fmt;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub node: Node,
    pub fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.node, self.fault.name())
    }
}

/// An import on its way.
struct Journey<'a> {
    local: &'a Local,
    gate: &'a Gate,
    token: &'a str,
    merchant: Uuid,
    way: Way,
    /// Once it exists.
    job: Option<String>,
    asked: u32,
    retried: u32,
}

impl Case {
    /// A step that ends with an error already is not refused as well: nothing is left to do that.
    pub(super) fn makes_sense(&self) -> bool {
        !(self.fault == Fault::Refusal && self.node.state == "CloseStopped")
    }

    /// Returns how it went; an error says what is wrong afterwards.
    pub(super) async fn run(&self, local: &Local, gate: &Gate) -> Outcome<String> {
        let began = Instant::now();
        let way = ways::find(&self.node).ok_or("no way")?;
        let user = &local.file.users[0];
        let merchant = local.add_merchant(&self.to_string(), std::slice::from_ref(&user.user_id)).await?;
        let mut journey =
            Journey { local, gate, token: &user.token, merchant, way, job: None, asked: 0, retried: 0 };
        way.prepare(local, gate, merchant).await?;
        self.arm(&journey)?;
        local.put(&format!("import/{merchant}/a.csv"), ways::file().1).await?;
        way.lead(local, gate, merchant).await?;
        let outcome = self.travel(&mut journey).await;
        gate.remove(&name("fault", &merchant.to_string()))?;
        gate.remove(&name("way", &merchant.to_string()))?;
        outcome?;
        journey.compare(self.fault).await?;
        Ok(format!(
            "{} retries, {} requests, {} s",
            journey.retried,
            journey.asked,
            began.elapsed().as_secs()
        ))
    }

    fn arm(&self, journey: &Journey<'_>) -> Outcome<()> {
        journey.gate.set(Rule {
            id: name("fault", &journey.merchant.to_string()),
            machine: self.node.machine.to_owned(),
            state: self.node.state.clone(),
            texts: journey.texts(),
            acts: self.fault.acts(),
        })
    }

    /// Brings the import to its end.
    async fn travel(&self, journey: &mut Journey<'_>) -> Outcome<()> {
        let id = name("fault", &journey.merchant.to_string());
        let (mut struck, deadline) = (false, Instant::now() + 2 * PATIENCE);
        loop {
            if !struck && journey.gate.is_reached(&id, self.fault.acts().len() - 1) {
                self.fault.strike(journey.local, journey.gate, &id, &journey.texts()).await?;
                journey.way.release(journey.local, journey.merchant).await?;
                struck = true;
            }
            if journey.job.is_none() {
                journey.find().await?;
                if journey.job.is_some() {
                    self.arm(journey)?;
                    journey.arm_way()?;
                }
            }
            if journey.go_on(struck).await? && struck {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(
                    format!("not over in time, struck: {struck}; {}", journey.describe().await).into()
                );
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

impl Journey<'_> {
    /// What the executions of this import have in their name, their input or their payloads.
    fn texts(&self) -> Vec<String> {
        [Some(self.merchant.to_string()), self.job.clone()].into_iter().flatten().collect()
    }

    /// The task of a way that gives it up is refused.
    fn arm_way(&self) -> Outcome<()> {
        let (Way::GivenUp(_, state), Some(job)) = (self.way, &self.job) else { return Ok(()) };
        let id = name("way", &self.merchant.to_string());
        self.gate.set(Rule { id, ..rule("way", "maintenance", state, job, Act::Refuse) })
    }

    async fn find(&mut self) -> Outcome<()> {
        let sql = format!(
            "SELECT id FROM onceload.codes_import_jobs WHERE merchant_id = '{}' AND source_info <> '{{}}'",
            self.merchant
        );
        self.job = self.local.rows(&sql).await?.into_iter().flatten().next();
        Ok(())
    }

    /// Does what is the operator's turn. Returns whether all is over.
    async fn go_on(&mut self, struck: bool) -> Outcome<bool> {
        self.let_time_pass().await?;
        let Some(job) = self.job.clone() else {
            // Its first step failed for good, so there is no import. S3's event, or the person, comes again.
            if struck
                && self.local.running().await?.iter().all(|it| !it.input.contains(&self.merchant.to_string()))
            {
                self.local.put(&format!("import/{}/a.csv", self.merchant), ways::file().1).await?;
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            return Ok(false);
        };
        let (deed, import) = operator::tend(self.local, self.token, &job).await?;
        self.retried += u32::from(deed == Deed::Retried);
        if deed != Deed::Nothing {
            return Ok(false);
        }
        match import["status"].as_str().unwrap_or_default() {
            // Verification was given up, and the codes are in.
            "completed" if import["verification"].is_null() && import["counts"]["inserted"] != 0 => {
                let answer =
                    self.local.api.post(self.token, &format!("/imports/{job}/verify"), json!({})).await?;
                self.asked += u32::from(answer.is_success());
                Ok(false)
            }
            "completed" => self.ask_for_task(&job).await,
            "rolled_back" => Ok(true),
            "cancelled" | "expired" => Err(format!("the import is {}", import["status"]).into()),
            _ => Ok(false),
        }
    }

    /// Asks for the way's task until it is done. Returns whether it is.
    async fn ask_for_task(&mut self, job: &str) -> Outcome<bool> {
        let Some((task, body)) = self.way.task() else { return Ok(true) };
        let action = if task == "exports" { "export" } else { task };
        let sql = format!(
            "SELECT status FROM onceload.import_tasks WHERE job_id = '{job}' AND action = '{action}'
                AND coalesce(kind, 'report') = 'report' ORDER BY requested_at DESC LIMIT 1"
        );
        match self.local.rows(&sql).await?.into_iter().flatten().next().as_deref() {
            Some("done") => return Ok(true),
            Some("active") => return Ok(false),
            _ => {}
        }
        let answer = self.local.api.post(self.token, &format!("/imports/{job}/{task}"), body).await?;
        if answer.is_success() {
            self.asked += 1;
        }
        Ok(false)
    }

    /// An hour goes by for imports and tasks whose execution is over, and the sweep looks at them.
    async fn let_time_pass(&self) -> Outcome<()> {
        let sql = format!(
            "SELECT j.execution_arn FROM onceload.codes_import_jobs j
              WHERE j.merchant_id = '{0}' AND j.finished_at IS NULL AND j.execution_arn IS NOT NULL
             UNION ALL
             SELECT replace('{1}', ':stateMachine:', ':execution:') || ':' || t.action || '-' || t.id
               FROM onceload.import_tasks t JOIN onceload.codes_import_jobs j ON j.id = t.job_id
              WHERE j.merchant_id = '{0}' AND t.status = 'active'",
            self.merchant,
            self.local.file.maintenance_state_machine_arn.clone().unwrap_or_default()
        );
        for arn in self.local.rows(&sql).await?.into_iter().flatten() {
            let described = self.local.executions.describe_execution().execution_arn(&arn).send().await;
            let is_over = described.is_ok_and(|found| *found.status() != ExecutionStatus::Running);
            if is_over {
                let earlier = format!(
                    "UPDATE onceload.codes_import_jobs SET updated_at = updated_at - interval '1 hour',
                            heartbeat_at = heartbeat_at - interval '1 hour' WHERE execution_arn = '{arn}';
                     UPDATE onceload.import_tasks SET heartbeat_at = heartbeat_at - interval '1 hour'
                      WHERE status = 'active' AND '{arn}' LIKE '%' || id"
                );
                self.local.rows(&earlier).await?;
                self.local.sweep().await?;
            }
        }
        Ok(())
    }

    async fn compare(&self, fault: Fault) -> Outcome<()> {
        let scope = format!("j.merchant_id = '{}'", self.merchant);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let unrest = rest::find_unrest(self.local, &scope).await?;
            if unrest.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("not at rest: {}", unrest.join("; ")).into());
            }
            self.let_time_pass().await?;
            self.local.sweep().await?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let mut wrong = rest::find_wrong(self.local, &scope).await?;
        let expected = self.way.expects();
        let job = self.job.as_deref().unwrap_or_default();
        let sql = format!(
            "SELECT j.codes_inserted, j.rejected, (SELECT count(*) FROM onceload.codes c WHERE c.import_job_id = j.id),
                    (SELECT count(*) FROM onceload.codes_import_jobs o WHERE o.merchant_id = j.merchant_id AND o.status = 'completed'),
                    j.status
               FROM onceload.codes_import_jobs j WHERE j.id = '{job}'"
        );
        let found = self.local.rows(&sql).await?.into_iter().next().unwrap_or_default();
        let rolled_back = self.way.task().is_some_and(|(task, _)| task == "rollback");
        let codes = if rolled_back { 0 } else { expected.clean };
        let status = if rolled_back { "rolled_back" } else { "completed" };
        let completed = if rolled_back { 0 } else { 1 };
        let wanted = [expected.clean, expected.rejected, codes, completed];
        let wanted: Vec<String> = wanted.iter().map(i64::to_string).chain([status.to_owned()]).collect();
        if found != wanted {
            wrong.push(format!("inserted, rejected, codes, imports, status: {found:?}, not {wanted:?}"));
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}: {}", fault.name(), wrong.join("; ")).into()) }
    }

    async fn describe(&self) -> String {
        let sql = format!(
            "SELECT id, status, phase, attempt, leased, error_message FROM onceload.codes_import_jobs WHERE merchant_id = '{}'",
            self.merchant
        );
        format!("{:?}", self.local.rows(&sql).await.unwrap_or_default())
    }
}
