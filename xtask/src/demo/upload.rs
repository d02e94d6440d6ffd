//! Uploads a generated batch to `stage/` in S3. The manifest comes last, because it starts the import.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::generate::MANIFEST;
use crate::stack::Stack;
use crate::{Context, Error, Result, interrupt};

pub(super) struct Uploader<'a> {
    pub stack: &'a Stack,
    /// `stage/{merchant}/{batch}`
    pub prefix: String,
}

impl Uploader<'_> {
    pub(super) fn upload_files(&self, dir: &Path) -> Result<()> {
        let target = format!("s3://{}/{}/", self.stack.file.bucket, self.prefix);
        self.copy(dir, &target, &["--recursive", "--exclude", "*", "--include", "codes-*"])
    }

    pub(super) fn upload_manifest(&self, dir: &Path) -> Result<()> {
        let target = format!("s3://{}/{}/{MANIFEST}", self.stack.file.bucket, self.prefix);
        self.copy(&dir.join(MANIFEST), &target, &[])
    }

    fn copy(&self, from: &Path, to: &str, flags: &[&str]) -> Result<()> {
        let output = Command::new(self.stack.aws())
            .args(["--endpoint-url", &self.stack.file.aws_endpoint_url, "s3", "cp", "--only-show-errors"])
            .args(flags)
            .arg(from)
            .arg(to)
            // The local engine accepts any key. A real profile must never be used by accident.
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_DEFAULT_REGION", &self.stack.file.region)
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .context(|| format!("run {}", self.stack.aws().display()))?;
        if output.status.success() {
            return Ok(());
        }
        interrupt::check()?;
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::advice(format!("could not upload {} ({}): {message}", from.display(), output.status)))
    }
}
