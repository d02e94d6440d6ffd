//! `cargo xtask demo --adopt`: an application with a table of codes of its own, which claims codes all the time. The demo adopts its
//! table and imports into it.

use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::database::Psql;
use crate::generate::grouped;
use crate::stack::Stack;
use crate::{Context, Error, Result, aws, say};

/// The application's tables.
pub const TABLES: &str = include_str!("../../local/application.sql");
/// What adopts them: the input of `migrate`, without `apply`.
pub const REQUEST: &str = include_str!("../../local/adopt.json");

/// The application's codes before there was Onceload.
const CODES: u32 = 50_000;
/// One claim: a free code is locked, claimed and referenced in one transaction. Nothing of it knows Onceload.
const CLAIM: &str = "
    WITH free AS (
        SELECT id FROM public.promo_codes WHERE NOT is_claimed AND random() < 0.1 LIMIT 1 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE public.promo_codes p SET is_claimed = true, customer = 'ada' FROM free WHERE p.id = free.id RETURNING p.id
    )
    INSERT INTO public.claims (promo_code_id, customer) SELECT id, 'ada' FROM taken;\n";
/// What must always hold for the application: a code is claimed exactly if a claim references it.
const BROKEN: &str =
    "SELECT count(*) FROM public.promo_codes p FULL JOIN public.claims c ON c.promo_code_id = p.id
                       WHERE (p.is_claimed IS TRUE) <> (c.id IS NOT NULL)";

/// Makes the application, unless an earlier demo did, and adopts its table.
pub(super) fn adopt(stack: &Stack, psql: &Psql, merchant: &str) -> Result<()> {
    let step = say::step("Making an application with a table of codes of its own");
    let made = psql.run_script(|out| write!(out, "SELECT to_regclass('public.promo_codes') IS NULL;"))?;
    if made == ["t"] {
        psql.run_script(|out| {
            writeln!(out, "BEGIN; {TABLES}")?;
            writeln!(
                out,
                "INSERT INTO public.promo_codes (owner_id, promo_code) SELECT '{merchant}', 'OLD-' || n FROM generate_series(1, {CODES}) n;
                 COMMIT; ANALYZE public.promo_codes;"
            )
        })?;
    }
    step.done(format_args!("public.promo_codes and public.claims, {} codes", grouped(CODES.into())));
    let plan = call(stack, false)?;
    say::result("\nThe function `migrate` says what adopting public.promo_codes takes:\n");
    for sql in plan["sql"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        say::result(format_args!("  {sql}"));
    }
    for (kind, findings) in [("problem", &plan["problems"]), ("warning", &plan["warnings"])] {
        for finding in findings.as_array().into_iter().flatten() {
            let text = |member: &str| finding[member].as_str().unwrap_or_default();
            say::result(format_args!(
                "  {kind} {}, {}: {}. {}",
                text("reason"),
                text("object"),
                text("detail"),
                text("advice")
            ));
        }
    }
    say::result("");
    let step = say::step("Adopting public.promo_codes");
    let done = call(stack, true)?;
    if done["applied"] != json!(true) {
        return Err(Error::advice(format!("public.promo_codes was not adopted: {done}")));
    }
    step.done("onceload.codes is a view of it");
    Ok(())
}

fn call(stack: &Stack, apply: bool) -> Result<Value> {
    let mut request: Value = serde_json::from_str(REQUEST).context(|| "read adopt.json")?;
    request["apply"] = json!(apply);
    let file = &stack.file;
    aws::invoke(
        &file.aws_endpoint_url,
        &file.migrate_function,
        &json!({ "adopt": request }),
        Duration::from_secs(900),
    )
}

/// The application at work: it claims about twenty codes a second until it is stopped.
pub(super) struct Application {
    psql: Child,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Application {
    pub(super) fn start(psql: &Psql) -> Result<Self> {
        let mut child = Command::new(&psql.program)
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", &psql.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("run {}", psql.program.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let input = child.stdin.take();
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || claim_until(&stopped, input));
        Ok(Self { psql: child, stop, writer: Some(writer) })
    }

    /// Stops it, and fails if one of its claims failed or its invariant is broken. Returns how many codes it claimed in all.
    pub(super) fn finish(mut self, psql: &Psql) -> Result<String> {
        self.end();
        let mut said = String::new();
        if let Some(mut errors) = self.psql.stderr.take() {
            std::io::Read::read_to_string(&mut errors, &mut said)
                .context(|| "read what the application said")?;
        }
        let status = self.psql.wait().context(|| "wait for the application")?;
        let counts = psql.run_script(|out| write!(out, "{BROKEN}; SELECT count(*) FROM public.claims;"))?;
        match counts.as_slice() {
            [broken, claims] if broken == "0" && status.success() => Ok(claims.clone()),
            _ => Err(Error::advice(format!(
                "the application did not go on undisturbed: {counts:?} {}",
                said.trim()
            ))),
        }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.end();
        let _ = self.psql.wait();
    }
}

fn claim_until(stop: &AtomicBool, input: Option<ChildStdin>) {
    let Some(mut input) = input else { return };
    // psql that has failed takes no more: `finish` says why.
    while !stop.load(Ordering::Relaxed)
        && input.write_all(CLAIM.as_bytes()).and_then(|()| input.flush()).is_ok()
    {
        std::thread::sleep(Duration::from_millis(50));
    }
}
