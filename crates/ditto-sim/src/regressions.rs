//! Seeds that once failed, kept in the tree and run again by every CI run.

use std::str::FromStr;

/// The list, as it is in the tree.
const LIST: &str = include_str!("../regressions.txt");

/// A run that once failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regression {
    /// A run with stores.
    Run(u64),
    /// A swarm: seed, peers, whether there are only LAN links.
    Swarm(u64, usize, bool),
}

impl FromStr for Regression {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let bad = || format!("not a regression: {line:?}");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["run", seed] => seed.parse().map(Regression::Run).map_err(|_| bad()),
            ["swarm", seed, peers, class @ ("lan" | "mixed")] => {
                let peers = peers.parse().map_err(|_| bad())?;
                Ok(Regression::Swarm(seed.parse().map_err(|_| bad())?, peers, class == "lan"))
            }
            _ => Err(bad()),
        }
    }
}

/// All of them. What follows a `#` is a remark. The error is a line that cannot be read.
pub fn regressions() -> Result<Vec<Regression>, String> {
    let lines = LIST.lines().map(|l| l.split('#').next().unwrap_or_default().trim());
    lines.filter(|l| !l.is_empty()).map(str::parse).collect()
}
