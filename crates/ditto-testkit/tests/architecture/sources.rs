//! What the sources themselves may not contain, and how long they may be.

use std::fs;
use std::path::{Path, PathBuf};

use crate::edges::Package;

/// Longest file outside of tests, in lines.
const MAX_LINES: usize = 1000;

/// Words by which code opens a socket. Plain address types are welcome everywhere.
const SOCKETS: [&str; 7] =
    ["TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream", "UnixDatagram", "tokio::net"];
/// Files that carry somebody else's connections, which is all that they do: the two ends of `ditto bus forward`.
const TUNNELS: [&str; 2] = ["apps/cli/src/bus/forward.rs", "apps/cli/src/bus/tunnel.rs"];
/// Words by which code reaches for the machine it runs on.
const MACHINE: [&str; 10] = [
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "SystemTime::now",
    "Instant::now",
    "OsRng",
    "thread_rng",
    "tokio::",
    "thread::spawn",
];

/// Every forbidden word in the product code of the packages.
pub(crate) fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let mut forbidden: Vec<&str> = Vec::new();
        // The benchmarks measure plain sockets as the peer.
        if !["ditto-net", "ditto-benches"].contains(&package.name.as_str()) {
            forbidden.extend(SOCKETS);
        }
        if package.is_pure() {
            forbidden.extend(MACHINE);
        }
        for file in rust_files(&package.directory.join("src")) {
            if TUNNELS.iter().any(|tunnel| file.ends_with(tunnel)) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            for (line, word) in forbidden_words(&text, &forbidden) {
                found.push(format!("{}:{line}: {word} has no place in {}", file.display(), package.name));
            }
        }
    }
    found
}

/// Lines, from 1, of `text` with a forbidden word. Comments and the unit tests at the end of a file do not count.
fn forbidden_words<'a>(text: &str, forbidden: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let opens_tests =
            lines.peek().is_some_and(|(_, next)| next.starts_with("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && opens_tests {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        found.extend(forbidden.iter().filter(|word| code.contains(**word)).map(|word| (at + 1, *word)));
    }
    found
}

/// Files outside of tests that are longer than a room may be.
pub(crate) fn long_files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = 0;
    for part in ["crates", "ditto-uniffi", "apps", "benches", "fuzz", "bindings"] {
        for file in rust_files(&root.join(part)) {
            seen += 1;
            if let Some(lines) = is_long(&file) {
                found.push(format!("{} has {lines} lines, more than {MAX_LINES}: split it", file.display()));
            }
        }
    }
    assert!(seen > 50, "only {seen} files looked at under {}", root.display());
    found
}

/// The length of a file that is too long.
fn is_long(file: &Path) -> Option<usize> {
    let lines = fs::read_to_string(file).unwrap().lines().count();
    (lines > MAX_LINES).then_some(lines)
}

/// Every Rust file under `directory` that is no test and not made by a build.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(directory, &mut files);
    let test_modules: Vec<PathBuf> = files.iter().flat_map(|file| test_modules(file)).collect();
    files.retain(|file| !test_modules.iter().any(|module| file.with_extension("").starts_with(module)));
    files.sort();
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "tests", "node_modules"].contains(&name.as_str()) && !name.starts_with('.') {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Paths, without `.rs`, of the modules that `file` declares for tests only. Their submodules lie below the paths.
fn test_modules(file: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(file).unwrap();
    let stem = file.file_stem().unwrap();
    let home = if stem == "lib" || stem == "main" {
        file.parent().unwrap().to_owned()
    } else {
        file.with_extension("")
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].rsplit_once("mod ")?.1.strip_suffix(';'))
        .map(|module| home.join(module))
        .collect()
}

mod tests {
    use super::*;

    #[test]
    fn forbidden_words_are_found_in_code_only() {
        let text = "\
use std::fs;
// std::fs in a comment
let a = Instant::now(); // why
fn b() {}
#[cfg(test)]
mod tests {
    use std::fs;
}
";
        assert_eq!(forbidden_words(text, &MACHINE), [(1, "std::fs"), (3, "Instant::now")]);
        let gate = "#[cfg(test)]\nmod tests;\nuse std::net::TcpStream;\n";
        assert_eq!(forbidden_words(gate, &SOCKETS), [(3, "TcpStream")]);
    }

    #[test]
    fn long_files_are_found_but_not_among_tests() {
        let directory = ditto_testkit::temp_dir();
        let long = "\n".repeat(MAX_LINES + 1);
        let files = [
            ("src/lib.rs", "mod long;\n#[cfg(test)]\npub(crate) mod sim;\n"),
            ("src/long.rs", &format!("#[cfg(test)]\nmod tests;\n{long}")),
            ("src/long/part.rs", &long),
            ("src/long/tests.rs", &long),
            ("src/sim.rs", &long),
            ("src/sim/part.rs", &long),
            ("src/similar.rs", &long),
            ("tests/long.rs", &long),
            ("target/long.rs", &long),
            ("src/long.txt", &long),
        ];
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let expected = ["src/lib.rs", "src/long/part.rs", "src/long.rs", "src/similar.rs"];
        assert_eq!(rust_files(directory.path()), expected.map(|path| directory.path().join(path)));
        let long: Vec<PathBuf> =
            rust_files(directory.path()).into_iter().filter(|file| is_long(file).is_some()).collect();
        assert_eq!(long, expected[1..].iter().map(|path| directory.path().join(path)).collect::<Vec<_>>());
    }
}
