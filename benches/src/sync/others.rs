//! What others take for a first load: durable databases, and libraries of CRDTs in memory for scale.

use std::collections::btree_map::{BTreeMap, Entry};
use std::ffi::OsStr;
use std::io::Write;

use super::load::load;
use crate::Outcome;
use crate::engine::documents;
use crate::rivals;
use crate::row::Report;

/// Name in the tables, its name on the command line, how many documents it is given at most, whether ours has to be ahead.
const NATIVE: [(&str, &str, usize, bool); 4] = [
    ("iroh-docs, on disk", "iroh-docs", 2_000, true),
    ("Automerge, memory", "automerge", 20_000, false),
    ("Loro, memory", "loro", 20_000, false),
    ("Yrs, memory", "yrs", 20_000, false),
];
const SCRIPTS: [(&str, &str, usize, bool); 2] = [
    ("PouchDB over HTTP, leveldb", "pouchdb", 20_000, true),
    ("RxDB over HTTP, memory", "rxdb", 20_000, false),
];

pub(super) async fn run(report: &mut Report, quick: bool) -> Outcome<()> {
    let largest = if quick { 2_000 } else { 20_000 };
    let all = documents(largest);
    let mut ours = BTreeMap::new();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("documents.jsonl");
    for (rivals, script) in [(&NATIVE[..], false), (&SCRIPTS[..], true)] {
        for &(name, kind, most, ahead) in rivals {
            let documents = &all[..most.min(largest)];
            let n = documents.len();
            let mut lines = std::io::BufWriter::new(std::fs::File::create(&file)?);
            for (_, text) in documents {
                writeln!(lines, "{text}")?;
            }
            lines.flush()?;
            let at = directory.path().join(kind);
            std::fs::create_dir(&at)?;
            let kind = OsStr::new(kind);
            let theirs = if script {
                rivals::script(&[OsStr::new("replicate.mjs"), kind, file.as_os_str(), at.as_os_str()])?
            } else {
                rivals::work(&[OsStr::new("load"), kind, file.as_os_str()])?
            };
            let Some(theirs) = theirs else { continue };
            let mine = match ours.entry(n) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(load(documents, 0).await?),
            };
            let target = ahead.then_some(1.0);
            let workload = format!("W6 first sync of {n} documents");
            let cpu = mine.cpu * 1e6 / n as f64;
            report.add(
                &format!("{workload}, CPU of both ends"),
                cpu,
                (name, theirs.cpu_us(n)),
                "us CPU/doc",
                target,
            );
            report.add(&workload, mine.wall, (name, theirs.wall), "s", target);
        }
    }
    Ok(())
}
