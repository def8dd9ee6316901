//! Discovery and TCP between two network namespaces joined by a veth pair: two machines, as far as IP can tell.
//!
//! Needs root and iproute2. Without them it says so and passes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ditto_testkit::{Namespaces, ip};

const PATIENCE: Duration = Duration::from_secs(30);

/// `None` when this machine does not let us make any.
fn namespaces() -> Option<Namespaces> {
    Namespaces::new().map_err(|reason| println!("skipped: {reason}")).ok()
}

/// A program inside a namespace, mostly `netprobe`.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(namespace: &str, args: &[&str]) -> Self {
        Self::run(namespace, netprobe(), args)
    }

    fn run(namespace: &str, program: &Path, args: &[&str]) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The first line that begins with `start`.
    fn line(&self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(start) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no {start:?} in time; seen {seen:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {start:?}; seen {seen:?}"),
            }
        }
    }

    fn end(&mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example, built anew when its sources have changed: one that is there already may be of an older build, because
/// `cargo test --examples` makes test programs of examples and leaves those of `cargo build` as they are.
fn netprobe() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
        let path = profile.join("examples").join("netprobe");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // With the features of the whole workspace nothing is compiled twice.
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--workspace",
            "--example",
            "netprobe",
            "--manifest-path",
        ]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.status().is_ok_and(|status| status.success());
        assert!(built && path.exists(), "{} cannot be built", path.display());
        path
    })
}

#[test]
fn peers_in_two_namespaces_find_each_other_and_talk() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    let service = "_dittons-test._tcp.local.";
    let mut b = Process::start(ns_b, &[service, "b"]);
    b.line("listening");
    let mut a = Process::start(ns_a, &[service, "a", "b"]);

    let found = a.line("discovered b ");
    let first = found.split(' ').nth(2).unwrap();
    assert!(first.starts_with("tcp://198.51.100.2:"), "the shared subnet comes first: {found}");
    assert!(!found.contains("127.0.0.1") && !found.contains("[::1]"), "{found}");
    a.line("echoed");
    let (mut seen, mut linked) = (String::new(), String::new());
    while seen.is_empty() || linked.is_empty() {
        let line = b.line("");
        if line.starts_with("discovered a ") {
            seen = line;
        } else if line.starts_with("up ") {
            linked = line;
        }
    }
    assert!(seen.contains("tcp://198.51.100.1:"), "{seen}");
    assert!(linked.contains("198.51.100.1:"), "{linked}");
    assert!(a.end(), "netprobe a failed");
    // A clean end says goodbye; an expiry would take two minutes.
    b.line("lost a");
    assert!(b.end(), "netprobe b failed");
}

#[test]
fn a_killed_process_is_found_again_at_its_new_address() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    let service = "_dittons-kill._tcp.local.";
    let mut a = Process::start(ns_a, &[service, "a"]);
    let mut b = Process::start(ns_b, &[service, "b"]);
    let before = a.line("discovered b ");
    // A kill says no goodbye: the old announcement stays valid until the new process replaces it.
    b.child.kill().unwrap();
    b.child.wait().unwrap();
    let mut b = Process::start(ns_b, &[service, "b", "a"]);
    let after = a.line("discovered b ");
    assert_ne!(before, after, "the port is another one");
    b.line("echoed");
    assert!(a.end() && b.end());
}

#[test]
fn an_interface_that_comes_up_later_is_used() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    ip(&["-n", ns_a, "link", "set", "veth0", "down"]);
    let service = "_dittons-late._tcp.local.";
    let mut a = Process::start(ns_a, &[service, "a", "b"]);
    assert!(a.line("condition Mdns").contains("no network interface besides loopback is up"));
    let mut b = Process::start(ns_b, &[service, "b"]);
    ip(&["-n", ns_a, "link", "set", "veth0", "up"]);
    a.line("condition Mdns ok");
    a.line("echoed");
    assert!(a.end() && b.end());
}

#[test]
fn a_device_that_moves_to_another_network_says_so() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let ns = &namespaces.names[0];
    let mut a = Process::start(ns, &["_dittons-move._tcp.local.", "a"]);
    a.line("listening");
    ip(&["-n", ns, "addr", "flush", "dev", "veth0"]);
    ip(&["-n", ns, "addr", "add", "203.0.113.9/24", "dev", "veth0"]);
    a.line("network changed");
    assert!(a.end());
}

#[test]
fn processes_of_a_machine_without_any_network_find_each_other_over_loopback() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let ns = &namespaces.names[0];
    ip(&["-n", ns, "link", "set", "veth0", "down"]);
    let service = "_dittons-lo._tcp.local.";
    let mut b = Process::start(ns, &[service, "b"]);
    b.line("listening");
    let mut a = Process::start(ns, &[service, "a", "b"]);
    a.line("echoed");
    assert!(a.end() && b.end());
}

/// Two probes that look for each other by `by`: they find each other, talk, and say goodbye.
fn found_by(by: &str, service: &str) -> String {
    let Some(namespaces) = namespaces() else {
        return String::new();
    };
    let [ns_a, ns_b] = &namespaces.names;
    let mut b = Process::start(ns_b, &["--by", by, service, "b"]);
    b.line("listening");
    let mut a = Process::start(ns_a, &["--by", by, service, "a", "b"]);
    let found = a.line("discovered b ");
    let port = found.rsplit(':').next().unwrap().to_owned();
    assert!(found.contains(&format!("tcp://198.51.100.2:{port}")), "{found}");
    a.line("echoed");
    b.line("discovered a ");
    assert!(a.end(), "netprobe a failed");
    b.line("lost a");
    assert!(b.end(), "netprobe b failed");
    found
}

#[test]
fn multicast_alone_finds_peers() {
    let found = found_by("multicast", "_dittomc-only._tcp.local.");
    if !found.is_empty() {
        assert!(found.starts_with("discovered b tcp://198.51.100.2:"), "IPv4 comes first: {found}");
    }
}

#[test]
fn both_ways_of_discovery_make_one_instance() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    let service = "_dittomc-both._tcp.local.";
    let mut b = Process::start(ns_b, &["--by", "both", service, "b"]);
    b.line("listening");
    // One process looks by mDNS only, one by multicast only, one by both: each finds b once.
    let by_mdns = Process::start(ns_a, &["--by", "mdns", service, "m"]);
    let by_multicast = Process::start(ns_a, &["--by", "multicast", service, "u"]);
    let mut by_both = Process::start(ns_a, &["--by", "both", service, "a", "b"]);
    by_mdns.line("discovered b ");
    by_multicast.line("discovered b ");
    by_both.line("discovered b ");
    by_both.line("echoed");
    assert!(b.end(), "netprobe b failed");
    // Found twice, but one instance: it is lost once, when both have said goodbye.
    by_mdns.line("lost b");
    by_multicast.line("lost b");
    by_both.line("lost b");
    assert!(by_both.end());
    let again = by_both.lines.try_iter().find(|line| line.starts_with("lost b"));
    assert_eq!(again, None);
}

#[test]
fn other_scopes_are_not_found_by_multicast() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    let other = Process::start(ns_b, &["--by", "multicast", "_dittomc-x._tcp.local.", "x"]);
    other.line("listening");
    let b = Process::start(ns_b, &["--by", "multicast", "_dittomc-y._tcp.local.", "b"]);
    b.line("listening");
    let mut a = Process::start(ns_a, &["--by", "multicast", "_dittomc-y._tcp.local.", "a", "b"]);
    a.line("echoed");
    // By now x has announced as often as b.
    assert!(a.end());
    assert!(a.lines.try_iter().all(|line| !line.starts_with("discovered x")));
}

#[test]
fn multicast_uses_an_interface_that_comes_up_later() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    ip(&["-n", ns_a, "link", "set", "veth0", "down"]);
    let service = "_dittomc-late._tcp.local.";
    let mut a = Process::start(ns_a, &["--by", "multicast", service, "a", "b"]);
    assert!(a.line("condition Multicast").contains("no network interface besides loopback is up"));
    let mut b = Process::start(ns_b, &["--by", "multicast", service, "b"]);
    ip(&["-n", ns_a, "link", "set", "veth0", "up"]);
    a.line("condition Multicast ok");
    a.line("echoed");
    assert!(a.end() && b.end());
}

#[test]
fn a_partition_is_noticed_by_multicast_and_heals() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    let service = "_dittomc-part._tcp.local.";
    let mut a = Process::start(ns_a, &["--by", "multicast", service, "a"]);
    let mut b = Process::start(ns_b, &["--by", "multicast", service, "b"]);
    a.line("discovered b ");
    b.line("discovered a ");
    // A second machine unplugs its cable without a word.
    ip(&["-n", ns_b, "link", "set", "veth0", "down"]);
    a.line("lost b");
    b.line("lost a");
    ip(&["-n", ns_b, "link", "set", "veth0", "up"]);
    a.line("discovered b ");
    b.line("discovered a ");
    assert!(a.end() && b.end());
}

#[test]
fn multicast_works_over_loopback_where_there_is_nothing_else() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let ns = &namespaces.names[0];
    ip(&["-n", ns, "link", "set", "veth0", "down"]);
    let service = "_dittomc-lo._tcp.local.";
    let mut b = Process::start(ns, &["--by", "multicast", service, "b"]);
    b.line("listening");
    let mut a = Process::start(ns, &["--by", "multicast", service, "a", "b"]);
    a.line("echoed");
    assert!(a.end() && b.end());
}

#[test]
fn a_second_interface_is_a_second_way() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    let [ns_a, ns_b] = &namespaces.names;
    namespaces.join("veth1", "203.0.113");
    let service = "_dittomc-two._tcp.local.";
    let mut b = Process::start(ns_b, &["--by", "multicast", service, "b"]);
    let mut a = Process::start(ns_a, &["--by", "multicast", service, "a"]);
    loop {
        let found = a.line("discovered b ");
        if found.contains("tcp://198.51.100.2:") && found.contains("tcp://203.0.113.2:") {
            break;
        }
    }
    // The first one goes; the other one stays.
    ip(&["-n", ns_b, "link", "set", "veth0", "down"]);
    loop {
        let found = a.line("discovered b ");
        if !found.contains("198.51.100.2") && found.contains("tcp://203.0.113.2:") {
            break;
        }
    }
    assert!(a.end() && b.end());
}

/// A system bus and a responder that belong to the namespace, and `avahi-browse` on them until the input ends. `/run` and
/// the process ids are private too, so neither meets those of the machine, and all of them end together.
const AVAHI: &str = r#"
set -eu
mount -t tmpfs none /run
mkdir /run/avahi-daemon
cat > /run/bus.conf <<'BUS'
<busconfig><type>system</type><listen>unix:path=/run/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
BUS
printf '[server]\nuse-ipv6=yes\nenable-dbus=yes\n' > /run/avahi.conf
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/bus
dbus-daemon --config-file=/run/bus.conf --fork --nopidfile
avahi-daemon --daemonize --file /run/avahi.conf --no-drop-root --no-chroot --no-rlimits
avahi-browse --parsable --resolve --no-db-lookup "$1" &
read -r _ || true
"#;

#[test]
fn avahi_sees_the_service_as_ours_and_its_end() {
    let Some(namespaces) = namespaces() else {
        return;
    };
    for program in ["avahi-daemon", "avahi-browse", "dbus-daemon", "unshare"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("skipped: {program} is not installed (apt install avahi-daemon avahi-utils dbus)");
            return;
        }
    }
    let [ns_a, ns_b] = &namespaces.names;
    let kind = "_dittons-avahi._tcp";
    let args = ["--pid", "--fork", "--kill-child", "--mount", "sh", "-c", AVAHI, "sh", kind];
    let avahi = Process::run(ns_a, Path::new("unshare"), &args);
    let mut b = Process::start(ns_b, &[&format!("{kind}.local."), "b"]);
    let listening = b.line("listening");
    let port = listening.rsplit(':').next().unwrap();
    let ipv4 = avahi.line(&format!("=;veth0;IPv4;b;{kind};local;"));
    // Host name, address, port, and the TXT record.
    assert!(ipv4.ends_with(&format!(";b.local;198.51.100.2;{port};\"v=1\"")), "{ipv4}");
    assert!(b.end(), "netprobe b failed");
    avahi.line(&format!("-;veth0;IPv4;b;{kind};local"));
}
