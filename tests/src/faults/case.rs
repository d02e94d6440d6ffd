//! One case: a copy of the prepared state, the call with a fault, the call once more without one, and what is there then.

use super::effects::Effects;
use super::snapshot::{Known, Snapshot, hide_times};
use super::subjects::Subject;
use crate::call::{Answer, Call};
use crate::db::{Server, TestDb};
use crate::fixture::{config, sdk_config};
use crate::objects::{ACCESS_KEY, BUCKET, RequestFault, SECRET_KEY, TestS3};
use crate::wire::{Asked, Cut, Wire};
use crate::{World, wait};
use futures_util::FutureExt;
use serde_json::Value;
use shared::db::{Database, Usage};
use shared::lambda::clients::Clients;
use shared::lambda::{App, Budget};
use shared::s3::objects::Objects;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A message between the function and PostgreSQL.
    Wire(Cut),
    /// A request to S3, or its answer.
    S3(RequestFault),
    /// The function: it is killed before the server gets the request, or after the server has done what was asked.
    Kill { after: bool },
}

impl Fault {
    /// All of them, with their names on the command line.
    pub const ALL: [(&'static str, Self); 14] = [
        ("before", Self::Wire(Cut::Before)),
        ("after", Self::Wire(Cut::After)),
        ("half", Self::Wire(Cut::Half)),
        ("down", Self::Wire(Cut::Down)),
        ("silent", Self::Wire(Cut::Silent)),
        ("s3-reset", Self::S3(RequestFault::Reset)),
        ("s3-lost", Self::S3(RequestFault::Lost)),
        ("s3-slow-down", Self::S3(RequestFault::SlowDown)),
        ("s3-half", Self::S3(RequestFault::Half)),
        ("s3-slow", Self::S3(RequestFault::Slow)),
        ("s3-down", Self::S3(RequestFault::ResetFromNow)),
        ("s3-refuses", Self::S3(RequestFault::SlowDownFromNow)),
        ("kill-before", Self::Kill { after: false }),
        ("kill-after", Self::Kill { after: true }),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, fault)| *fault == self).map_or("?", |(name, _)| name)
    }
}

/// The state before a step, made once, and the call of the step.
pub struct Prepared {
    pub subject: &'static Subject,
    server: Server,
    template: TestDb,
    s3: TestS3,
    call: Call,
    known: Known,
}

/// What a case came to.
#[derive(Debug)]
pub struct Case {
    /// What the call with the fault answered; `None` if its process was killed.
    pub first: Option<Answer>,
    /// What the call without a fault answered.
    pub last: Answer,
    /// Whether there was anything to take away.
    pub was_hit: bool,
    /// What the call asked the database.
    pub asked: Vec<Asked>,
    /// How many requests the call sent to S3.
    pub s3_requests: usize,
    pub(super) snapshot: Snapshot,
}

impl Prepared {
    /// Prepares the state of a subject on the server of the environment.
    pub async fn new(subject: &'static Subject) -> Self {
        let server = Server::from_env();
        let direct = server.without_pooler();
        let (mut template, s3, call) = if subject.name == "migrate" {
            let input = serde_json::json!({});
            (direct.create_empty_database().await, TestS3::start().await, Call::step("migrate", input))
        } else {
            let world = World::with_database(direct.create_database().await).await;
            let call = (subject.prepare)(&world).await;
            // Nothing of what the preparation promised is left for the case to deliver.
            world.db.exec("UPDATE onceload.outbox SET delivered_at = coalesce(delivered_at, now())").await;
            if subject.delivers {
                world
                    .db
                    .exec("UPDATE onceload.outbox SET delivered_at = NULL, next_attempt_at = now()")
                    .await;
            }
            let World { db, s3, .. } = world;
            (db, s3, call)
        };
        let mut texts = s3.keys();
        texts.push(call.input.to_string());
        let known = Known::read(&template, &texts).await;
        template.disconnect().await;
        Self { subject, server, template, s3, call, known }
    }

    /// Makes the call with a fault at its `number`th request to the database, then once more without a fault. Without a fault, it
    /// makes it once, and once more if `twice`.
    pub async fn run(&self, fault: Option<(usize, Fault)>, twice: bool) -> Result<Case, String> {
        let place = Place::new(self).await;
        let case = self.run_at(&place, fault, twice).await;
        // On a thread of its own: PostgreSQL drops a database only once each backend of the server has answered it, and a backend
        // that authenticates waits for its client, which may be another case on this thread.
        let dropped = tokio::task::spawn_blocking(move || drop(place.db)).await;
        dropped.map_err(|error| error.to_string()).and(case)
    }

    async fn run_at(
        &self,
        place: &Place,
        fault: Option<(usize, Fault)>,
        twice: bool,
    ) -> Result<Case, String> {
        let cut = fault.and_then(|(number, fault)| match fault {
            Fault::Wire(cut) => Some((number, cut)),
            Fault::Kill { after: false } => Some((number, Cut::Withheld)),
            Fault::Kill { after: true } => Some((number, Cut::Silent)),
            Fault::S3(_) => None,
        });
        place.s3.fail_request(fault.and_then(|(number, fault)| match fault {
            Fault::S3(fault) => Some((number, fault)),
            _ => None,
        }));
        let wire = Wire::start(&place.server_address(self.subject), cut).await;
        let first = match fault {
            Some((_, Fault::Kill { .. })) => place.kill(&self.call, &wire).await?,
            Some((_, Fault::Wire(Cut::Silent))) => {
                let usage = Usage { connections: 2, patience: Duration::from_millis(500) };
                Some(place.make(&self.call, &wire, usage, Duration::from_secs(3)).await?)
            }
            _ => Some(place.make(&self.call, &wire, self.call.usage(), LONG).await?),
        };
        let (was_hit, asked) = (wire.was_hit() || place.s3.has_failed_request(), wire.asked());
        let s3_requests = place.s3.count_requests();
        drop(wire);
        place.s3.fail_request(None);
        let wire = Wire::start(&place.server_address(self.subject), None).await;
        let last = match &first {
            Some(first) if fault.is_none() && !twice => first.clone(),
            _ => self.repeat(place, &wire).await?,
        };
        if self.subject.name != "migrate" {
            place
                .db
                .exec("UPDATE onceload.outbox SET next_attempt_at = now() WHERE delivered_at IS NULL")
                .await;
            // What a lost answer kept from being delivered is the sweep's.
            let sweep = Call::step("sweep-imports", serde_json::json!({}));
            let swept = place.make(&sweep, &wire, Usage::step(1), LONG).await?;
            if !swept.is_success() {
                return Err(format!("the sweep answered {swept:?}"));
            }
        }
        if self.subject.is_scheduled {
            place.wait_until_nothing_is_open().await;
            place.make(&self.call, &wire, self.call.usage(), LONG).await?;
        }
        drop(wire);
        place.wait_until_nothing_is_open().await;
        let snapshot = Snapshot::take(&place.db, &place.s3, place.effects.noted(), &self.known).await;
        Ok(Case { first, last, was_hit, asked, s3_requests, snapshot })
    }

    /// Makes the call as the state machine and clients do: again while the answer says so. The transaction of the call with the fault
    /// may be open until the server, or a pooler before it, notices that its client is gone.
    async fn repeat(&self, place: &Place, wire: &Wire) -> Result<Answer, String> {
        let began = Instant::now();
        loop {
            let answer = place.make(&self.call, wire, self.call.usage(), LONG).await?;
            if !answer.is_to_be_repeated() || began.elapsed() > wait::PATIENCE {
                return Ok(answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// An answer in which ids that the run has made are hidden.
    pub(super) fn hide_new(&self, answer: &Answer) -> String {
        let timeless = |value: &Value| {
            let mut value = value.clone();
            hide_times(&mut value);
            value
        };
        let text = match answer {
            Answer::Done(output) => format!("done: {}", timeless(output)),
            // The message is for people, and may know more the second time.
            Answer::Stopped { kind, .. } => format!("stopped: {kind:?}"),
            Answer::Response { status, body } => format!("{status}: {}", timeless(body)),
        };
        self.known.hide_new(&text)
    }
}

/// How long a call waits before it is repeated.
const PAUSE: Duration = Duration::from_millis(200);
/// The budget of a function.
const LONG: Duration = Duration::from_secs(890);

/// A copy of the prepared state.
struct Place {
    db: TestDb,
    s3: TestS3,
    effects: Effects,
}

impl Place {
    async fn new(prepared: &Prepared) -> Self {
        let db = prepared.server.copy(&prepared.template.name).await;
        Self { db, s3: prepared.s3.copy().await, effects: Effects::start(prepared.subject.stopped).await }
    }

    /// Where the function would connect to.
    fn server_address(&self, subject: &Subject) -> String {
        if subject.name == "migrate" { self.db.direct_address() } else { self.db.address() }
    }

    fn url(&self, wire: &Wire) -> String {
        let address = wire.address();
        self.db.url().replace(&self.db.address(), &address)
    }

    fn app(&self, wire: &Wire, usage: Usage) -> Result<App, String> {
        let db = Database::new(&self.url(wire), usage, None).map_err(|error| format!("{error:?}"))?;
        let objects = Objects::new(&sdk_config(&self.s3.endpoint, 3), BUCKET);
        let clients = Clients::new(sdk_config(&self.effects.endpoint, 1), BUCKET).with_objects(objects);
        Ok(App { config: config(), db, clients })
    }

    /// Makes the call in this process, in an environment of its own. A call that never ends is a failure.
    async fn make(&self, call: &Call, wire: &Wire, usage: Usage, budget: Duration) -> Result<Answer, String> {
        let made = AssertUnwindSafe(call.make(self.app(wire, usage)?, Budget::of(budget))).catch_unwind();
        match tokio::time::timeout(wait::PATIENCE, made).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("the function panicked".to_owned()),
            Err(_) => Err(format!("no answer within {:?}", wait::PATIENCE)),
        }
    }

    /// Makes the call in a process of its own and kills it with SIGKILL when the fault's request comes. Returns nothing, or what
    /// the call would have answered if the request never comes.
    async fn kill(&self, call: &Call, wire: &Wire) -> Result<Option<Answer>, String> {
        let mut process = tokio::process::Command::from(self.command(call, wire));
        let mut child = process.spawn().map_err(|error| format!("the step's process: {error}"))?;
        tokio::select! {
            () = wire.wait_for_hit() => {
                child.kill().await.map_err(|error| format!("SIGKILL: {error}"))?;
                Ok(None)
            }
            ended = child.wait() => ended.map(|_| None).map_err(|error| error.to_string()),
        }
    }

    fn command(&self, call: &Call, wire: &Wire) -> Command {
        let config = config();
        let mut command = Command::new(program());
        command
            .args([&call.function, &call.input.to_string()])
            .env("DATABASE_URL", self.url(wire))
            .env("BUCKET", BUCKET)
            .env("AWS_ENDPOINT_URL", &self.s3.endpoint)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", "eu-central-1")
            .env("STATE_MACHINE_ARN", config.state_machine_arn.unwrap_or_default())
            .env("MAINTENANCE_STATE_MACHINE_ARN", config.maintenance_state_machine_arn.unwrap_or_default())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// A client that is gone leaves no transaction open, and no connection beside those of a pooler.
    async fn wait_until_nothing_is_open(&self) {
        let pooled = self.db.address() != self.db.direct_address();
        let sql = format!(
            "SELECT count(*) = 0 FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                AND (state <> 'idle' OR {})",
            !pooled
        );
        self.db.until("the functions' connections to end", &sql).await;
    }
}

/// The program that makes one call: `step`, beside this one.
fn program() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let beside = this.parent().expect("a folder");
    // Cargo puts tests in a folder below that of the programs.
    [beside, beside.parent().unwrap_or(beside)]
        .iter()
        .map(|folder| folder.join("step"))
        .find(|path| path.is_file())
        .expect("the program `step`: build it")
}
