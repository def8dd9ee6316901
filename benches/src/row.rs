//! Result rows: one JSON line each.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::Outcome;

/// Rows of one run.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Value>,
}

impl Report {
    /// Adds a row. `target` is the largest ratio that passes; `None` while there is none.
    pub(crate) fn add(
        &mut self,
        workload: &str,
        ours: f64,
        (peer_name, peer): (&str, f64),
        unit: &str,
        target: Option<f64>,
    ) {
        let ratio = ours / peer;
        let row = json!({
            "workload": workload,
            "ours": round(ours),
            "peer": round(peer),
            "peer_name": peer_name,
            "unit": unit,
            "ratio": round(ratio),
            "target": target,
            "pass": target.map(|t| ratio <= t),
        });
        note(&format!("{workload}: {:.3} {unit}, {peer_name} {:.3}, ratio {ratio:.2}", ours, peer));
        self.rows.push(row);
    }

    /// Adds the row of interleaved repeats: that of the median ratio.
    pub(crate) fn median(
        &mut self,
        workload: &str,
        mut repeats: Vec<(f64, f64)>,
        peer_name: &str,
        unit: &str,
        target: Option<f64>,
    ) {
        repeats.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        if let Some((ours, peer)) = repeats.get(repeats.len() / 2) {
            self.add(workload, *ours, (peer_name, *peer), unit, target);
        }
    }

    /// Adds a row about an absolute limit: the ratio is the part of it that is used.
    pub(crate) fn limit(&mut self, workload: &str, ours: f64, limit: f64, unit: &str) {
        self.add(workload, ours, ("the limit", limit), unit, Some(1.0));
    }

    /// Adds the rows that another process has printed.
    pub(crate) fn read(&mut self, lines: &str) -> Outcome<()> {
        for line in lines.lines().filter(|l| l.starts_with('{')) {
            self.rows.push(serde_json::from_str(line)?);
        }
        Ok(())
    }

    /// The two figures of the first row.
    pub(crate) fn pair(&self) -> Option<(f64, f64)> {
        let row = self.rows.first()?;
        Some((row["ours"].as_f64()?, row["peer"].as_f64()?))
    }

    /// Writes the rows to stdout, and to a file when one is named.
    pub(crate) fn write(&self, file: Option<&Path>) -> Outcome<()> {
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&row.to_string());
            text.push('\n');
        }
        std::io::stdout().write_all(text.as_bytes())?;
        if let Some(file) = file {
            File::create(file)?.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

fn round(v: f64) -> f64 {
    (v * 1000.0).round() / 1000.0
}

/// Progress for the person who waits.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
