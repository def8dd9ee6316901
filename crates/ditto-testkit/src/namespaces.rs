//! Two network namespaces joined by veth pairs: two machines, as far as IP can tell.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Two namespaces that go away with the value. `veth0` of the first has 198.51.100.1/24, that of the second 198.51.100.2/24.
#[derive(Debug)]
pub struct Namespaces {
    /// Their names, for `ip -n` and `ip netns exec`.
    pub names: [String; 2],
}

impl Namespaces {
    /// Makes them.
    ///
    /// # Errors
    /// Why this machine does not let us make any: it needs root and iproute2.
    ///
    /// # Panics
    /// When they cannot be joined.
    pub fn new() -> Result<Self, String> {
        // The tests of one process run side by side.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = [format!("ditto-a-{id}"), format!("ditto-b-{id}")];
        let reason = match run(&["netns", "add", &names[0]]) {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(e) => Some(e.to_string()),
        };
        if let Some(reason) = reason {
            return Err(format!("needs root and ip ({reason})"));
        }
        let this = Self { names };
        ip(&["netns", "add", &this.names[1]]);
        for name in &this.names {
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        this.join("veth0", "198.51.100");
        Ok(this)
    }

    /// Joins them by one more pair of interfaces, with the addresses 1 and 2 of an IPv4 network given by its first three numbers.
    ///
    /// # Panics
    /// When that fails.
    pub fn join(&self, interface: &str, network: &str) {
        let [a, b] = &self.names;
        ip(&["-n", a, "link", "add", interface, "type", "veth", "peer", "name", interface, "netns", b]);
        for (name, host) in [(a, 1), (b, 2)] {
            ip(&["-n", name, "addr", "add", &format!("{network}.{host}/24"), "dev", interface]);
            ip(&["-n", name, "link", "set", interface, "up"]);
        }
    }

    /// A program inside one of them.
    pub fn command(&self, side: usize, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[side]]).arg(program.as_ref());
        command
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // There may be nothing to delete when the set-up has failed half way.
            let _ = run(&["netns", "delete", name]);
        }
    }
}

fn run(args: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(args).output()
}

/// Runs `ip`.
///
/// # Panics
/// When that fails.
pub fn ip(args: &[&str]) {
    match run(args) {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("ip {args:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => panic!("ip {args:?}: {e}"),
    }
}
