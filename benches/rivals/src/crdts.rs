//! Libraries of CRDTs: all documents as maps of one replicated map, in memory, from a full replica to an empty one.
//!
//! Neither durable nor indexed nor queried: they are here for scale.

use std::path::Path;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT, ReadDoc, ScalarValue};
use loro::{ExportMode, LoroDoc, LoroMap};
use serde_json::{Map, Value, json};
use yrs::updates::decoder::Decode;
use yrs::{Any, Doc, Map as _, MapPrelim, ReadTxn, StateVector, Transact, Update};

use crate::Outcome;
use crate::messages::say;
use crate::stopwatch::Stopwatch;

const MAP: &str = "docs";

/// Id and JSON text of each document.
pub(crate) fn documents(file: &Path) -> Outcome<Vec<(String, String)>> {
    let text = std::fs::read_to_string(file)?;
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line)?;
            Ok((value["_id"].as_str().ok_or("a document without _id")?.to_owned(), line.to_owned()))
        })
        .collect()
}

pub(crate) fn run(kind: &str, file: &Path) -> Outcome<()> {
    let all: Vec<(String, Map<String, Value>)> = documents(file)?
        .into_iter()
        .map(|(id, text)| Ok((id, serde_json::from_str(&text)?)))
        .collect::<Outcome<_>>()?;
    let (arrived, wire, (wall, cpu)) = match kind {
        "automerge" => with_automerge(&all)?,
        "loro" => with_loro(&all)?,
        "yrs" => with_yrs(&all)?,
        _ => return Err(format!("there is no {kind}").into()),
    };
    if arrived != all.len() {
        return Err(format!("{arrived} of {} documents arrived", all.len()).into());
    }
    say(&json!({ "wall": wall, "cpu": cpu, "wire": wire }).to_string())
}

/// Documents that arrived, bytes, seconds on the clock and of CPU.
type Figures = (usize, usize, (f64, f64));

fn with_automerge(all: &[(String, Map<String, Value>)]) -> Outcome<Figures> {
    let mut full = AutoCommit::new();
    let docs = full.put_object(ROOT, MAP, ObjType::Map)?;
    for (id, fields) in all {
        let document = full.put_object(&docs, id.as_str(), ObjType::Map)?;
        for (name, value) in fields {
            let value = match value {
                Value::String(s) => ScalarValue::Str(s.as_str().into()),
                other => ScalarValue::Int(other.as_i64().ok_or("neither text nor a number")?),
            };
            full.put(&document, name.as_str(), value)?;
        }
    }
    full.commit();
    let watch = Stopwatch::start()?;
    let bytes = full.save();
    let empty = AutoCommit::load(&bytes)?;
    let (_, docs) = empty.get(ROOT, MAP)?.ok_or("no map")?;
    Ok((empty.length(&docs), bytes.len(), watch.stop()?))
}

fn with_loro(all: &[(String, Map<String, Value>)]) -> Outcome<Figures> {
    let full = LoroDoc::new();
    let docs = full.get_map(MAP);
    for (id, fields) in all {
        let document = docs.insert_container(id, LoroMap::new())?;
        for (name, value) in fields {
            match value {
                Value::String(s) => document.insert(name, s.as_str())?,
                other => document.insert(name, other.as_i64().ok_or("neither text nor a number")?)?,
            }
        }
    }
    full.commit();
    let watch = Stopwatch::start()?;
    let bytes = full.export(ExportMode::all_updates())?;
    let empty = LoroDoc::new();
    empty.import(&bytes)?;
    Ok((empty.get_map(MAP).len(), bytes.len(), watch.stop()?))
}

fn with_yrs(all: &[(String, Map<String, Value>)]) -> Outcome<Figures> {
    let full = Doc::new();
    let docs = full.get_or_insert_map(MAP);
    {
        let mut transaction = full.transact_mut();
        for (id, fields) in all {
            let mut document = Vec::new();
            for (name, value) in fields {
                document.push((
                    name.clone(),
                    match value {
                        Value::String(s) => Any::from(s.as_str()),
                        other => Any::from(other.as_i64().ok_or("neither text nor a number")?),
                    },
                ));
            }
            docs.insert(&mut transaction, id.as_str(), MapPrelim::from_iter(document));
        }
    }
    let watch = Stopwatch::start()?;
    let bytes = full.transact().encode_state_as_update_v1(&StateVector::default());
    let empty = Doc::new();
    let docs = empty.get_or_insert_map(MAP);
    empty.transact_mut().apply_update(Update::decode_v1(&bytes)?)?;
    let arrived = docs.len(&empty.transact()) as usize;
    Ok((arrived, bytes.len(), watch.stop()?))
}
