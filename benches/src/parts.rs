//! Runs the parts of a group one after the other, each in a process of its own, so that none inherits memory or caches.

use std::process::{Command, Stdio};

use crate::Outcome;
use crate::row::Report;

/// `prefix` and the name of a part are what the program is called with.
pub(crate) fn run(report: &mut Report, prefix: &str, parts: &[&str], quick: bool) -> Outcome<()> {
    for name in parts {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("{prefix}{name}")).stdout(Stdio::piped());
        if quick {
            command.arg("--quick");
        }
        let output = command.spawn()?.wait_with_output()?;
        report.read(&String::from_utf8_lossy(&output.stdout))?;
        if !output.status.success() {
            return Err(format!("{name} failed").into());
        }
    }
    Ok(())
}
