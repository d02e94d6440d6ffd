//! `onceload export`: requests a report, waits for it and downloads it.

use crate::Output;
use crate::api;
use crate::args::{Export, Kind};
use crate::check::map_options;
use crate::commands::Session;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal;
use crate::words::{bytes, shown, text};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
const TRIES: u32 = 5;

pub(crate) fn export(session: &Session, args: &Export) -> Outcome<Output> {
    let job = session.find_job(args.job.job)?;
    let (id, kind) = (text(&job, "/job_id").to_owned(), args.kind.as_str());
    let path = format!("/imports/{id}/exports");
    // The rollback itself exports the codes that it kept.
    if args.kind != Kind::Claimed {
        session.api.post(&path, &json!({ "kind": kind }))?;
        session.print_note(&format!("Exporting {kind} of import {id}"));
    }
    let mut export = loop {
        let found = session.api.get(&path)?;
        let Some(export) = find_latest(&found, kind).cloned() else {
            return Err(Failure::new(Exit::Denied, format!("The import has no export of {kind} codes.")));
        };
        match text(&export, "/status") {
            "ready" => break export,
            "failed" => {
                let message = format!("The export failed: {}", shown(&export, "/error_message"));
                return Err(Failure::new(Exit::ImportFailed, message).with(export));
            }
            _ => std::thread::sleep(POLL_INTERVAL),
        }
    };
    std::fs::create_dir_all(&args.output).map_err(|error| write_failure(&args.output, &error))?;
    let agent = api::new_agent(Some(DOWNLOAD_TIMEOUT));
    let mut lines = Vec::new();
    for file in export["files"].as_array_mut().into_iter().flatten() {
        // A name from the service must not lead out of the folder.
        let name = text(file, "/name").rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let name = if name.is_empty() || name.starts_with('.') { format!("{kind}.csv.gz") } else { name };
        let target = args.output.join(name);
        let size = download(&agent, text(file, "/url"), &target)?;
        lines.push(format!("{}  {}", terminal::part(&target.display().to_string()), bytes(size)));
        if let Some(file) = file.as_object_mut() {
            // Until it expires, the link works like a password.
            file.remove("url");
            file.insert("path".into(), json!(target.display().to_string()));
            file.insert("size".into(), json!(size));
        }
    }
    if lines.is_empty() {
        lines.push(format!("The {kind} export has no files."));
    } else if args.kind == Kind::Rejects {
        // Its columns have the headers of the files, so the same mapping says what they are.
        let mapping = job["source"]["mapping"].as_object().into_iter().flatten();
        let map = map_options(mapping.filter_map(|(field, header)| Some((field.as_str(), header.as_str()?))));
        lines.push(format!("\nCorrect it, then import it:  onceload import <file>{}", terminal::part(&map)));
    }
    Ok(Output { text: lines.join("\n"), document: json!({ "job_id": id, "export": export }) })
}

/// Finds the export of a kind that was requested last.
fn find_latest<'a>(found: &'a Value, kind: &str) -> Option<&'a Value> {
    let exports = found["exports"].as_array()?.iter().filter(|export| text(export, "/kind") == kind);
    // Timestamps of the same format and time zone sort as text.
    exports.max_by_key(|export| text(export, "/requested_at"))
}

/// Downloads to a file beside the target and renames it, so that the target is always complete.
fn download(agent: &ureq::Agent, url: &str, target: &Path) -> Outcome<u64> {
    let part = PathBuf::from(format!("{}.part", target.display()));
    let mut tries = 0;
    loop {
        tries += 1;
        let problem = match try_download(agent, url, &part) {
            Ok(size) => {
                std::fs::rename(&part, target).map_err(|error| write_failure(target, &error))?;
                return Ok(size);
            }
            Err(DownloadError::Disk(error)) => return Err(write_failure(target, &error)),
            Err(DownloadError::Storage(problem)) => problem,
        };
        if tries >= TRIES {
            let _ = std::fs::remove_file(&part);
            let message = format!("Could not download {}: {problem}.", target.display());
            return Err(Failure::new(Exit::Unavailable, message));
        }
        api::pause(tries);
    }
}

enum DownloadError {
    Disk(std::io::Error),
    Storage(String),
}

fn try_download(agent: &ureq::Agent, url: &str, part: &Path) -> Result<u64, DownloadError> {
    let mut response = agent.get(url).call().map_err(|error| DownloadError::Storage(error.to_string()))?;
    if response.status().as_u16() != 200 {
        return Err(DownloadError::Storage(format!(
            "the storage answered with {}",
            response.status().as_u16()
        )));
    }
    let expected = response.body().content_length();
    let mut file = File::create(part).map_err(DownloadError::Disk)?;
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
    let size =
        std::io::copy(&mut reader, &mut file).map_err(|error| DownloadError::Storage(error.to_string()))?;
    if expected.is_some_and(|expected| expected != size) {
        return Err(DownloadError::Storage(format!("the download ended early, after {size} bytes")));
    }
    Ok(size)
}

fn write_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {error}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_export_that_was_requested_last_is_found() {
        let found = json!({ "exports": [
            { "kind": "report", "status": "running", "requested_at": "2026-11-21T04:00:00.3Z" },
            { "kind": "duplicates", "status": "failed", "requested_at": "2026-11-21T04:00:00.2Z" },
            { "kind": "duplicates", "status": "ready", "requested_at": "2026-11-21T04:00:00.1Z" },
        ] });
        assert_eq!(find_latest(&found, "duplicates").map(|export| text(export, "/status")), Some("failed"));
        assert_eq!(find_latest(&found, "rejects"), None);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let failure = write_failure(Path::new("/x"), &std::io::Error::other("full"));
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, "/x: full."));
        assert_eq!(failure.to_json()["error"]["exit_code"], json!(2));
    }
}
