//! What can be seen without a connection: interfaces, multicast and key files.

use std::path::Path;

use super::findings::{Findings, Level};

/// Addresses of this machine, and whether discovery can use them.
pub(super) fn interfaces(findings: &mut Findings) {
    let reports = match ditto::interface_reports() {
        Ok(reports) => reports,
        Err(e) => {
            let text = format!("the network interfaces cannot be listed: {e}");
            return findings.add(Level::Failure, "interfaces", text, "run it with the rights of the app");
        }
    };
    let usable: Vec<_> = reports.iter().filter(|r| r.is_usable).collect();
    if usable.is_empty() {
        let advice = "connect the device to a network; peers of this machine alone are found by --connect";
        return findings.add(Level::Failure, "interfaces", "no interface leads to other devices", advice);
    }
    for r in &usable {
        findings.fine("interfaces", format!("{} {}", r.name, r.ip));
    }
    for r in &usable {
        match &r.multicast {
            Ok(()) => findings.fine("multicast", format!("{} {}: a datagram to this machine came back", r.name, r.ip)),
            Err(e) => findings.add(
                Level::Warning,
                "multicast",
                format!("{} {}: {e}", r.name, r.ip),
                "discovery does not work on this address: allow UDP multicast (mDNS, port 5353), or name peers with --connect",
            ),
        }
    }
    if usable.iter().all(|r| r.multicast.is_err()) {
        let advice = "peers are not found by themselves: allow UDP multicast or configure addresses";
        findings.add(Level::Failure, "multicast", "multicast works on no interface", advice);
    }
}

/// Whether secrets are readable by their owner only.
pub(super) fn key_files(findings: &mut Findings, directory: Option<&Path>, shared_key: Option<&Path>) {
    if let Some(directory) = directory {
        key_file(findings, &directory.join("peer_key.der"), "the peer key");
    }
    if let Some(path) = shared_key {
        key_file(findings, path, "the shared key");
    }
}

fn key_file(findings: &mut Findings, path: &Path, what: &str) {
    let shown = path.display();
    match mode(path) {
        Err(e) => {
            let advice = "name the directory of a database that was opened before, or an existing key file";
            findings.add(Level::Failure, "keys", format!("{what} {shown}: {e}"), advice);
        }
        Ok(Some(mode)) if mode & 0o077 != 0 => {
            let text = format!("{what} {shown} has mode {:04o}: others can read or change it", mode & 0o7777);
            findings.add(Level::Failure, "keys", text, format!("chmod 600 {shown}"));
        }
        Ok(_) => findings.fine("keys", format!("{what} {shown} belongs to its owner only")),
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> std::io::Result<Option<u32>> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|m| Some(m.mode()))
}

#[cfg(not(unix))]
fn mode(path: &Path) -> std::io::Result<Option<u32>> {
    std::fs::metadata(path).map(|_| None)
}
