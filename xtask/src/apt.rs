//! Installs a Debian package if we may; otherwise says the one command that does.

use std::process::{Command, Stdio};

use crate::{Error, Result, process, say};

/// Installs `packages` by apt-get. `why` begins the sentence that is said when it can't be done.
pub fn install(packages: &[&str], why: &str) -> Result<()> {
    let wanted = packages.join(" ");
    let Some(mut first) = privileged("apt-get") else {
        return Err(Error::advice(format!(
            "{why}: run `sudo apt-get install {wanted}`, or install it your system's way"
        )));
    };
    let step = say::step(format!("Installing {wanted} by apt-get"));
    let _ = process::run(first.args(["update", "-qq"]).stdout(Stdio::null()))?;
    if let Some(mut second) = privileged("apt-get") {
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        process::run_well(second.args(install).args(packages).stdout(Stdio::null()))
            .map_err(|_| Error::advice(format!("{why}, and `apt-get install {wanted}` failed: see above")))?;
    }
    step.done("installed");
    Ok(())
}

/// The program as root, if it exists and we are root or sudo asks for no password.
fn privileged(program: &str) -> Option<Command> {
    let quiet = |command: &mut Command| {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !quiet(Command::new(program).arg("--version")) {
        return None;
    }
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(program)
    } else if quiet(Command::new("sudo").args(["-n", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    } else {
        return None;
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}
