//! Starting the process that meets the fault, and what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ditto_store::Durability;

use crate::script;

/// How the shim ends a process whose power was cut.
pub(crate) const POWER_CUT: i32 = 77;

const DIR: &str = "DITTO_FAULTS_CHILD_DIR";
const FULL: &str = "DITTO_FAULTS_CHILD_FULL";
const SPACE: &str = "DITTO_FAULTS_CHILD_SPACE";
/// Size of the small file system.
const SMALL: &str = "size=3m";

/// A fault as `shim.c` knows it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: &'static str,
    pub(crate) calls: &'static str,
    pub(crate) at: u64,
    pub(crate) times: u64,
}

impl Fault {
    pub(crate) fn is_cut(&self) -> bool {
        ["drop", "some", "tear"].contains(&self.kind)
    }
}

/// What a process did.
#[derive(Debug)]
pub(crate) struct Run {
    /// Steps in order: number and whether it was acknowledged.
    pub(crate) steps: Vec<(usize, bool)>,
    /// Step or other occasion, code and text of each error.
    pub(crate) errors: Vec<(String, String, String)>,
    /// It came to its end.
    pub(crate) finished: bool,
    pub(crate) code: Option<i32>,
    pub(crate) calls: u64,
    pub(crate) fired: u64,
}

impl Run {
    /// Errors name the disk, and a fault of short duration makes few of them.
    pub(crate) fn check_errors(&self, what: &str, fault: &Fault) {
        for (at, kind, text) in &self.errors {
            // The engine calls a file system damaged that answers EIO to a read, and so is half a page.
            let damaged = fault.calls.contains('r') && kind == "store/corrupt";
            let disk =
                ["store/backend", "store/storage-full", "io/operation-failed"].contains(&kind.as_str());
            assert!(disk || damaged, "{what}: step {at}: {kind}: {text}");
        }
        if fault.times == 1 {
            assert!(self.errors.len() <= 2, "{what}: one fault, many errors: {:?}", self.errors);
        }
    }
}

/// The shim as a library, compiled once; `None` with a printed reason where there is no C compiler.
pub(crate) fn compiled_shim() -> Option<PathBuf> {
    static SHIM: OnceLock<Option<PathBuf>> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.c");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&out).arg(&source);
        match cc.args(["-ldl", "-lpthread"]).status() {
            Ok(status) => {
                assert!(status.success(), "the shim does not compile");
                Some(out)
            }
            Err(e) => {
                println!("not run: no C compiler: {e}");
                None
            }
        }
    })
    .clone()
}

fn this_test() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command
}

/// Runs the script in `store` in another process.
pub(crate) fn run(fault: Option<(&PathBuf, &Fault)>, store: &Path, durability: Durability) -> Run {
    let mut command = this_test();
    command.env(DIR, store).env(FULL, if durability == Durability::Full { "1" } else { "0" });
    let report = store.parent().unwrap().join("report");
    if let Some((shim, fault)) = fault {
        command
            .env("LD_PRELOAD", shim)
            .env("DITTO_FAULT_DIR", store.canonicalize().unwrap())
            .env("DITTO_FAULT_CALLS", fault.calls)
            .env("DITTO_FAULT_AT", fault.at.to_string())
            .env("DITTO_FAULT_TIMES", fault.times.to_string())
            .env("DITTO_FAULT_KIND", fault.kind)
            .env("DITTO_FAULT_REPORT", &report);
    }
    let mut run = read(&mut command);
    let counts = std::fs::read_to_string(&report).unwrap_or_default();
    let counts: Vec<u64> = counts.split(' ').filter_map(|w| w.trim().parse().ok()).collect();
    if let [calls, fired] = counts[..] {
        (run.calls, run.fired) = (calls, fired);
    }
    run
}

/// Runs the writing of [`script::fill`] on a file system of a few MiB; `None` where that is not permitted.
pub(crate) fn run_on_small_file_system(dir: &Path) -> Option<Run> {
    let mount = |command: &mut Command| {
        let script = format!("mount -t tmpfs -o {SMALL} tmpfs \"$0\" && exec \"$@\"");
        command.args(["--mount", "--", "sh", "-c", &script]).arg(dir);
    };
    let mut probe = Command::new("unshare");
    mount(&mut probe);
    let probe = probe.arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|s| s.success()) {
        return None;
    }
    let mut command = Command::new("unshare");
    mount(&mut command);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir.join("store")).env(SPACE, dir.join("ballast"));
    Some(read(&mut command))
}

fn read(command: &mut Command) -> Run {
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut run = Run {
        steps: Vec::new(),
        errors: Vec::new(),
        finished: false,
        code: out.status.code(),
        calls: 0,
        fired: 0,
    };
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["ack", step] => run.steps.push((step.parse().unwrap(), true)),
            ["error", at, kind, text] => {
                if let Ok(step) = at.parse() {
                    run.steps.push((step, false));
                }
                run.errors.push((at.to_owned(), kind.to_owned(), text.to_owned()));
            }
            ["finished"] => run.finished = true,
            _ => {}
        }
    }
    if !run.finished && run.code != Some(POWER_CUT) {
        println!("{text}\n{}", String::from_utf8_lossy(&out.stderr));
    }
    run
}

/// What the other process does.
pub(crate) fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    // The harness writes to the same stream without ending its line.
    println!();
    if let Ok(ballast) = std::env::var(SPACE) {
        script::fill(Path::new(&dir), Path::new(&ballast));
    } else {
        let full = std::env::var(FULL).is_ok_and(|f| f == "1");
        script::run(Path::new(&dir), if full { Durability::Full } else { Durability::Normal });
    }
    println!("finished");
}
