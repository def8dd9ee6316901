//! Random documents and statements for the reference evaluator and for engines beside it.
//!
//! Everything is decided by a [`Tape`] of numbers, so that whoever makes the tape can repeat a run, and can shrink
//! one by taking numbers away or making them smaller: an empty tape and zeros give the simplest of everything.

mod expr;
mod select;
mod tape;
mod values;
mod write;

pub use tape::Tape;
pub use values::document;

use crate::reference::database::Statement;

/// The collections that statements are about.
pub const COLLECTIONS: [&str; 2] = ["c", "d"];

/// A statement about documents of [`document`].
pub fn statement(tape: &mut Tape) -> Statement {
    match tape.below(16) {
        0..=9 => Statement::Select(select::select(tape)),
        10 | 11 => Statement::Insert(write::insert(tape)),
        12..=14 => Statement::Update(write::update(tape)),
        _ => Statement::Delete(write::delete(tape)),
    }
}

/// Indexes worth having on documents of [`document`]: name and key list as they stand in CREATE INDEX.
pub fn indexes(tape: &mut Tape) -> Vec<(String, String)> {
    const PATHS: [&str; 11] = ["a", "b", "n", "e", "o.x", "l", "t", "r", "_id.k", "o", "o.y.z"];
    // Joins are generated on `a` only, so that there always is an index for them.
    let mut made = vec![("i0".to_owned(), "a".to_owned())];
    for at in 1..=tape.below(5) {
        let mut keys: Vec<String> = Vec::new();
        for _ in 0..=tape.below(3) {
            let path = *tape.pick(&PATHS);
            if !keys.iter().any(|k| k.split(' ').next() == Some(path)) {
                keys.push(format!("{path}{}", if tape.chance(1, 2) { " DESC" } else { "" }));
            }
        }
        made.push((format!("i{at}"), keys.join(", ")));
    }
    made
}
