//! The rules of ARCHITECTURE.md, checked over the whole workspace: who may depend on whom, which crates stay pure, and
//! how long a file may get.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "architecture/edges.rs"]
mod edges;
#[path = "architecture/sources.rs"]
mod sources;

use std::path::PathBuf;
use std::process::Command;

use edges::Package;

/// Every member of the workspace, as cargo sees it, and the root.
fn workspace() -> (Vec<Package>, PathBuf) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages: Vec<Package> = metadata["packages"].as_array().unwrap().iter().map(Package::read).collect();
    assert!(packages.len() > 10, "the workspace has all its members");
    (packages, metadata["workspace_root"].as_str().unwrap().into())
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n  {}", violations.len(), violations.join("\n  "));
}

#[test]
fn only_the_allowed_crates_are_named() {
    assert_none(&edges::violations(&workspace().0));
}

#[test]
fn pure_crates_touch_no_machine_and_only_the_net_opens_sockets() {
    let (packages, _) = workspace();
    assert_none(&sources::violations(&packages));
}

#[test]
fn files_stay_rooms() {
    let (_, root) = workspace();
    assert_none(&sources::long_files(&root));
}
