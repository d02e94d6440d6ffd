//! Installs Debian packages if this user may, and otherwise names the command to run.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Error, Result, process, say};

/// Finds a program, or installs the package of the same name. `why` begins the error message if that isn't possible.
pub(crate) fn find_or_install(program: &str, why: &str) -> Result<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    install(&[program], why)?;
    find(program)
        .ok_or_else(|| Error::advice(format!("found no {program} in PATH, {}", USUAL_DIRECTORIES.join(", "))))
}

/// Where servers' programs are that PATH often lacks.
const USUAL_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"];

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(USUAL_DIRECTORIES.map(PathBuf::from));
    directories.map(|directory| directory.join(program)).find(|found| found.is_file())
}

/// Installs `packages` with apt-get. `why` begins the error message if that isn't possible.
pub(crate) fn install(packages: &[&str], why: &str) -> Result<()> {
    let wanted = packages.join(" ");
    let Some(mut first) = privileged_command("apt-get") else {
        return Err(Error::advice(format!(
            "{why}: run `sudo apt-get install {wanted}`, or install the same with your system's package manager"
        )));
    };
    let step = say::step(format!("Installing {wanted} with apt-get"));
    let _ = process::run(first.args(["update", "-qq"]).stdout(Stdio::null()))?;
    if let Some(mut second) = privileged_command("apt-get") {
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        process::run_well(second.args(install).args(packages).stdout(Stdio::null()))
            .map_err(|_| Error::advice(format!("{why}, and `apt-get install {wanted}` failed: see above")))?;
    }
    step.done("installed");
    Ok(())
}

/// A command that runs the program as root, if the program exists and this user is root or has sudo without a password.
fn privileged_command(program: &str) -> Option<Command> {
    let succeeds = |command: &mut Command| {
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if !succeeds(Command::new(program).arg("--version")) {
        return None;
    }
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(program)
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", program]);
        sudo
    } else {
        return None;
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}
