//! Uploads files in parallel, tries each piece again and renews links that have expired.

use crate::api::{self, Api};
use crate::failure::{Exit, Failure, Outcome};
use crate::file_name::{FileName, RULE};
use crate::links::{headers, pieces};
use crate::words;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// The service's own limit.
const MAX_FILES: usize = 2000;
const TRIES: u32 = 6;
/// A piece that takes longer is stuck.
const PIECE_TIMEOUT: Duration = Duration::from_secs(3600);

/// A file on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    pub path: PathBuf,
    pub name: String,
    pub size: u64,
}

/// Lists the named files and those of named folders whose names an import takes, ordered by name. What else lies in a
/// folder comes second: its names.
pub(crate) fn list_files(paths: &[PathBuf]) -> Outcome<(Vec<Local>, Vec<String>)> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let (mut found, mut passed_over) = (Vec::new(), Vec::new());
    for path in paths {
        let unreadable = |error: std::io::Error| usage(format!("{}: {error}.", path.display()));
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            let file = inspect(path)?;
            if file.size == 0 {
                return Err(usage(format!("{} is empty.", path.display())));
            }
            found.push(file);
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.path();
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if !entry.is_file() || FileName::of(&name) != FileName::Importable {
                passed_over.push(name.into_owned());
                continue;
            }
            match inspect(&entry)? {
                file if file.size == 0 => passed_over.push(format!("{name} (empty)")),
                file => inside.push(file),
            }
        }
        if inside.is_empty() {
            return Err(usage(format!("{} has no file that an import takes: {RULE}.", path.display())));
        }
        found.extend(inside);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.len() > MAX_FILES {
        let message = format!(
            "{} files are too many: an import takes at most {MAX_FILES}. Split the batch.",
            found.len()
        );
        return Err(usage(message));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = found.iter().find(|file| !names.insert(file.name.clone())) {
        return Err(usage(format!(
            "Two files have the name {}. An import needs distinct names.",
            twice.name
        )));
    }
    passed_over.sort_unstable();
    Ok((found, passed_over))
}

fn inspect(path: &Path) -> Outcome<Local> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name
        .ok_or_else(|| usage(format!("{}: the file name is not valid UTF-8.", path.display())))?
        .to_owned();
    let metadata = std::fs::metadata(path).map_err(|error| usage(format!("{}: {error}.", path.display())))?;
    Ok(Local { path: path.to_owned(), name, size: metadata.len() })
}

/// Uploads all files into one batch and returns their keys.
pub(crate) fn upload(
    api: &Api,
    merchant: &str,
    batch: &str,
    files: &[Local],
    parallel: usize,
    quiet: bool,
) -> Outcome<Vec<String>> {
    let work = Work {
        api,
        s3: api::new_agent(Some(PIECE_TIMEOUT)),
        merchant,
        batch,
        files,
        bar: new_bar(files, quiet),
        state: Mutex::new(State {
            queue: (0..files.len()).map(Task::Declare).collect(),
            open: files.len(),
            keys: vec![String::new(); files.len()],
            done: 0,
            failure: None,
        }),
        changed: Condvar::new(),
    };
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| work.run());
        }
    });
    work.bar.finish_and_clear();
    let state = work.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match state.failure {
        Some(failure) => Err(failure),
        None => Ok(state.keys),
    }
}

fn new_bar(files: &[Local], quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files.iter().map(|file| file.size).sum());
    let template = "  {msg} [{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(format!("Uploading: File 1 of {}", files.len()));
    bar
}

enum Task {
    Declare(usize),
    Part { file: usize, part: usize, link: Link },
    Complete { file: usize, id: String, etags: Vec<String> },
}

/// The target of one piece of a file.
#[derive(Clone)]
struct Link {
    upload: std::sync::Arc<Upload>,
    url: String,
    offset: u64,
    size: u64,
}

/// An upload with the etags of its finished parts.
struct Upload {
    id: String,
    headers: Vec<(String, String)>,
    etags: Mutex<Vec<Option<String>>>,
}

struct State {
    queue: VecDeque<Task>,
    /// How many files are not complete.
    open: usize,
    keys: Vec<String>,
    done: usize,
    failure: Option<Failure>,
}

struct Work<'a> {
    api: &'a Api,
    s3: ureq::Agent,
    merchant: &'a str,
    batch: &'a str,
    files: &'a [Local],
    bar: ProgressBar,
    state: Mutex<State>,
    changed: Condvar,
}

impl Work<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs one worker: task after task until every file is complete or one has failed.
    fn run(&self) {
        while let Some(task) = self.take() {
            if let Err(failure) = self.perform(task) {
                self.lock().failure.get_or_insert(failure);
            }
            self.changed.notify_all();
        }
    }

    fn take(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.open == 0 || state.failure.is_some() {
                return None;
            }
            if let Some(task) = state.queue.pop_front() {
                return Some(task);
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn perform(&self, task: Task) -> Outcome {
        match task {
            Task::Declare(file) => self.declare(file),
            Task::Part { file, part, link } => self.send_part(file, part, link),
            Task::Complete { file, id, etags } => self.complete(file, &id, &etags),
        }
    }

    /// Declares a file. Declaring it again returns new links for the same upload.
    fn request_links(&self, file: usize) -> Outcome<Value> {
        let Local { name, size, .. } = &self.files[file];
        let body = json!({ "merchant_id": self.merchant, "name": name, "size": size, "batch": self.batch });
        self.api.post("/uploads", &body).map_err(|failure| self.name_file(file, failure))
    }

    fn name_file(&self, file: usize, failure: Failure) -> Failure {
        Failure { message: format!("{}: {}", self.files[file].name, failure.message), ..failure }
    }

    fn declare(&self, file: usize) -> Outcome {
        let declared = self.request_links(file)?;
        let id = words::text(&declared, "/upload_id").to_owned();
        let pieces = pieces(&declared, self.files[file].size);
        let (headers, etags) = (headers(&declared), Mutex::new(vec![None; pieces.len()]));
        let upload = std::sync::Arc::new(Upload { id, headers, etags });
        let mut state = self.lock();
        state.keys[file] = words::text(&declared, "/key").to_owned();
        // Finish started files before other files.
        for (part, (url, offset, size)) in pieces.into_iter().enumerate().rev() {
            let link = Link { upload: std::sync::Arc::clone(&upload), url, offset, size };
            state.queue.push_front(Task::Part { file, part, link });
        }
        Ok(())
    }

    fn send_part(&self, file: usize, part: usize, mut link: Link) -> Outcome {
        let etag = self.put(file, part, &mut link)?;
        let mut etags = link.upload.etags.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        etags[part] = Some(etag);
        if let Some(etags) = etags.iter().cloned().collect::<Option<Vec<String>>>() {
            let id = link.upload.id.clone();
            self.lock().queue.push_front(Task::Complete { file, id, etags });
        }
        Ok(())
    }

    /// Sends one piece, with further tries, and returns its etag.
    fn put(&self, file: usize, part: usize, link: &mut Link) -> Outcome<String> {
        let mut tries = 0;
        loop {
            tries += 1;
            let problem = match self.put_once(file, link) {
                Ok((status, Some(etag))) if (200..300).contains(&status) => return Ok(etag),
                // An earlier try has arrived. The batch is new, so nobody else's file has this key.
                Ok((412, _)) if tries > 1 => return Ok(String::new()),
                Ok((403, _)) if tries < TRIES => {
                    // The link has expired: get a new one for the same upload.
                    let fresh = pieces(&self.request_links(file)?, self.files[file].size);
                    if let Some((url, offset, size)) = fresh.into_iter().nth(part)
                        && (offset, size) == (link.offset, link.size)
                    {
                        link.url = url;
                    }
                    "403".to_owned()
                }
                // 409: another write to the key is under way.
                Ok((status, _)) if status < 500 && ![408, 409, 429].contains(&status) => {
                    let message = format!("The storage refused the upload with {status}.");
                    return Err(self.name_file(file, Failure::new(Exit::Unavailable, message)));
                }
                Ok((status, _)) => status.to_string(),
                Err(error) => error,
            };
            if tries >= TRIES {
                let message = format!("The upload failed: {problem}.");
                return Err(self.name_file(file, Failure::new(Exit::Unavailable, message)));
            }
            api::pause(tries);
        }
    }

    fn put_once(&self, file: usize, link: &Link) -> Result<(u16, Option<String>), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let mut source = File::open(&self.files[file].path).map_err(|error| text(&error))?;
        source.seek(SeekFrom::Start(link.offset)).map_err(|error| text(&error))?;
        let mut counted = Counted { inner: source.take(link.size), bar: &self.bar, sent: 0 };
        let mut request = self.s3.put(&link.url).header("content-length", link.size.to_string());
        for (name, value) in &link.upload.headers {
            request = request.header(name, value);
        }
        let request = request.content_type("application/octet-stream");
        let response = request.send(ureq::SendBody::from_reader(&mut counted));
        let accepted = response.as_ref().is_ok_and(|response| response.status().is_success());
        if !accepted {
            counted.take_back();
        }
        let response = response.map_err(|error| text(&error))?;
        let etag = response.headers().get("etag").and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok((response.status().as_u16(), etag))
    }

    fn complete(&self, file: usize, id: &str, etags: &[String]) -> Outcome {
        // An upload by a single PUT has no parts.
        let parts: Vec<Value> = match etags {
            [_] => Vec::new(),
            etags => etags.iter().zip(1..).map(|(etag, n)| json!({ "number": n, "etag": etag })).collect(),
        };
        self.api
            .post(&format!("/uploads/{id}/complete"), &json!({ "parts": parts }))
            .map_err(|failure| self.name_file(file, failure))?;
        let mut state = self.lock();
        state.open -= 1;
        state.done += 1;
        let next = (state.done + 1).min(self.files.len());
        self.bar.set_message(format!("Uploading: File {next} of {}", self.files.len()));
        Ok(())
    }
}

/// Moves the bar forward as bytes are sent, and back before they are sent again.
struct Counted<'a> {
    inner: std::io::Take<File>,
    bar: &'a ProgressBar,
    sent: u64,
}

impl Counted<'_> {
    fn take_back(&self) {
        self.bar.set_position(self.bar.position().saturating_sub(self.sent));
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sent += read as u64;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_csv_files_ordered_by_name() {
        let folder = std::env::temp_dir().join(format!("onceload-cli-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(folder.join("sub")).expect("a folder");
        std::fs::write(folder.join("e.csv"), "").expect("an empty file");
        for name in ["b.csv", "a.CSV.gz", "c.tsv.zst", "manifest.json", "._b.csv", ".h.csv", "sub/d.csv"] {
            std::fs::write(folder.join(name), "code\nA\n").expect("a file");
        }
        let (found, passed_over) = list_files(std::slice::from_ref(&folder)).expect("files");
        let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.CSV.gz", "b.csv", "c.tsv.zst"]);
        assert_eq!(passed_over, ["._b.csv", ".h.csv", "e.csv (empty)", "manifest.json", "sub"]);
        let twice = list_files(&[folder.clone(), folder.join("b.csv")]).expect_err("twice");
        assert!(twice.message.contains("b.csv"), "{twice}");
        assert!(list_files(&[folder.join("e.csv")]).expect_err("empty").message.contains("e.csv"));
        assert!(list_files(&[folder.join("none.csv")]).is_err());
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
