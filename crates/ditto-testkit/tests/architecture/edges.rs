//! Which crate may name which other one in its manifest.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// A member of the workspace, with the crates its manifest names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    /// For the product and its build scripts.
    normal: BTreeSet<String>,
    /// For tests, examples and benchmarks.
    dev: BTreeSet<String>,
}

impl Package {
    /// From an entry of `packages` of `cargo metadata`.
    pub(crate) fn read(entry: &serde_json::Value) -> Self {
        let mut package = Self { name: entry["name"].as_str().unwrap().to_owned(), ..Self::default() };
        let manifest = PathBuf::from(entry["manifest_path"].as_str().unwrap());
        package.directory = manifest.parent().unwrap().to_owned();
        for dependency in entry["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap().to_owned();
            match dependency["kind"].as_str() {
                Some("dev") => package.dev.insert(name),
                _ => package.normal.insert(name),
            };
        }
        package
    }

    pub(crate) fn is_pure(&self) -> bool {
        PURE.contains(&self.name.as_str())
    }
}

/// Every member, and the members that its product code may name. A new member needs a row; a new edge needs a
/// decision.
const MAY_NAME: [(&str, &[&str]); 15] = [
    ("ditto-types", &[]),
    ("ditto-crdt", &["ditto-types"]),
    ("ditto-dql", &["ditto-types"]),
    ("ditto-store", &["ditto-types", "ditto-crdt", "ditto-dql"]),
    ("ditto-sync", &["ditto-types", "ditto-crdt"]),
    ("ditto-mesh", &["ditto-types"]),
    ("ditto-bus", &["ditto-types", "ditto-mesh"]),
    ("ditto-net", &["ditto-types", "ditto-mesh"]),
    (
        "ditto",
        &["ditto-types", "ditto-crdt", "ditto-store", "ditto-sync", "ditto-mesh", "ditto-bus", "ditto-net"],
    ),
    ("ditto-uniffi", &["ditto"]),
    ("ditto-cli", &["ditto"]),
    // Some workloads measure a part alone.
    ("ditto-benches", &["ditto", "ditto-mesh", "ditto-net", "ditto-store", "ditto-sync", "ditto-testkit"]),
    ("ditto-testkit", &["ditto-types"]),
    // Development only: whole peers, for which it needs every part and the wiring of the SDK. Nobody names it.
    (
        "ditto-sim",
        &[
            "ditto-types",
            "ditto-crdt",
            "ditto-store",
            "ditto-sync",
            "ditto-mesh",
            "ditto-bus",
            "ditto",
            "ditto-testkit",
        ],
    ),
    ("uniffi-bindgen", &[]),
];

/// Crates without input, output, clock, thread or runtime.
pub(crate) const PURE: [&str; 6] =
    ["ditto-types", "ditto-crdt", "ditto-dql", "ditto-sync", "ditto-mesh", "ditto-bus"];

/// Foreign crates that only some members may name, with the reason.
struct Reserved {
    crates: &'static [&'static str],
    members: &'static [&'static str],
    why: &'static str,
}

const RESERVED: [Reserved; 4] = [
    Reserved {
        crates: &[
            "libsql",
            "libsql-ffi",
            "libsql-rusqlite",
            "libsqlite3-sys",
            "rusqlite",
            "sqlite",
            "sqlx",
            "diesel",
        ],
        // The benchmarks measure the engine itself as the peer.
        members: &["ditto-store", "ditto-benches"],
        why: "only the store knows SQL",
    },
    Reserved {
        crates: &["uniffi", "uniffi_bindgen", "uniffi_build", "uniffi_core", "uniffi_macros"],
        members: &["ditto-uniffi", "uniffi-bindgen"],
        why: "only the FFI crate knows UniFFI",
    },
    Reserved {
        crates: &[
            "async-net",
            "bluer",
            "btleplug",
            "hyper",
            "if-addrs",
            "mdns-sd",
            "mio",
            "quinn",
            "reqwest",
            "socket2",
            "tokio-rustls",
            "tokio-tungstenite",
            "tungstenite",
            "ureq",
        ],
        // The benchmarks measure what others do with sockets beside it.
        members: &["ditto-net", "ditto-benches"],
        why: "only the net opens sockets",
    },
    Reserved {
        crates: &["tokio", "tokio-util", "tokio-stream"],
        members: &["ditto-net", "ditto", "ditto-uniffi", "ditto-cli", "ditto-benches"],
        why: "the core is synchronous",
    },
];

/// Foreign crates that bring the machine into a pure crate.
const IMPURE: [&str; 12] = [
    "async-std",
    "crossbeam-channel",
    "fs4",
    "getrandom",
    "hostname",
    "mio",
    "rand",
    "rand_core",
    "rayon",
    "smol",
    "tempfile",
    "tokio",
];

/// Every broken rule, in words.
pub(crate) fn violations(packages: &[Package]) -> Vec<String> {
    let members: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some((_, may_name)) = MAY_NAME.iter().find(|(member, _)| *member == name) else {
            found.push(format!("{name} is in no row of MAY_NAME"));
            continue;
        };
        for other in &package.normal {
            if members.contains(other.as_str()) && !may_name.contains(&other.as_str()) {
                found.push(format!("{name} -> {other} is not an edge of the architecture"));
            }
            if package.is_pure() && IMPURE.contains(&other.as_str()) {
                found.push(format!("{name} -> {other}: a pure crate has no use for it"));
            }
        }
        for other in &package.dev {
            // The testkit is built on the types, which would otherwise exist twice in their own tests.
            let testkit = other == "ditto-testkit" && name != "ditto-types";
            if members.contains(other.as_str()) && !testkit && !may_name.contains(&other.as_str()) {
                found.push(format!(
                    "{name} -> {other} is not an edge of the architecture, not even for tests"
                ));
            }
            if package.is_pure() && other == "tokio" {
                found.push(format!("{name} -> {other}: a pure crate is tested without a runtime"));
            }
        }
        for reserved in RESERVED.iter().filter(|reserved| !reserved.members.contains(&name)) {
            for other in package.normal.iter().filter(|other| reserved.crates.contains(&other.as_str())) {
                found.push(format!("{name} -> {other}: {}", reserved.why));
            }
        }
    }
    found
}

mod tests {
    use super::*;

    fn package(name: &str, normal: &[&str], dev: &[&str]) -> Package {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Package { name: name.to_owned(), directory: PathBuf::new(), normal: set(normal), dev: set(dev) }
    }

    fn workspace_with(changed: &Package) -> Vec<Package> {
        let mut all: Vec<Package> = MAY_NAME.iter().map(|(name, may)| package(name, may, &[])).collect();
        all.retain(|p| p.name != changed.name);
        all.push(changed.clone());
        all
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Rows stand below the rows they name, but for the testkit, which no product names.
        let order: Vec<&str> = MAY_NAME.iter().map(|(name, _)| *name).collect();
        for (at, (name, may_name)) in MAY_NAME.iter().enumerate() {
            for other in *may_name {
                let below = order.iter().position(|n| n == other).unwrap();
                assert!(below < at || *other == "ditto-testkit", "{name} -> {other}");
            }
        }
    }

    #[test]
    fn each_kind_of_broken_rule_is_found() {
        let cases = [
            (package("ditto-types", &["ditto-crdt"], &[]), "ditto-types -> ditto-crdt"),
            (package("ditto-store", &["ditto-sync"], &[]), "ditto-store -> ditto-sync"),
            (package("ditto-sync", &[], &["ditto-store"]), "not even for tests"),
            (package("ditto-types", &[], &["ditto-testkit"]), "not even for tests"),
            (package("ditto-net", &["ditto-testkit"], &[]), "ditto-net -> ditto-testkit"),
            (package("ditto-mesh", &["tokio"], &[]), "pure crate has no use"),
            (package("ditto-bus", &[], &["tokio"]), "without a runtime"),
            (package("ditto-crdt", &["getrandom"], &[]), "pure crate has no use"),
            (package("ditto", &["libsql"], &[]), "only the store knows SQL"),
            (package("ditto-cli", &["uniffi"], &[]), "only the FFI crate knows UniFFI"),
            (package("ditto", &["socket2"], &[]), "only the net opens sockets"),
            (package("ditto-store", &["tokio"], &[]), "the core is synchronous"),
            (package("stranger", &[], &[]), "no row of MAY_NAME"),
        ];
        for (changed, message) in cases {
            let found = violations(&workspace_with(&changed));
            assert!(found.iter().any(|v| v.contains(message)), "{changed:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_allowed_is_not_reported() {
        for allowed in [
            package("ditto-net", &["ditto-mesh", "tokio", "socket2"], &["ditto-testkit"]),
            package("ditto-store", &["ditto-types", "libsql-rusqlite"], &["ditto-testkit", "tempfile"]),
            package("ditto-crdt", &["ditto-types", "smol_str"], &["proptest"]),
        ] {
            assert_eq!(violations(&workspace_with(&allowed)), Vec::<String>::new());
        }
    }
}
