//! The difference of two lists of fingerprints.

use std::collections::HashMap;

use super::fingerprint::Fingerprint;
use super::increasing::longest_increasing;
use super::{Diff, DiffMove};

/// Pairs the rows of both lists and tells what happened to each.
pub(super) fn align(old: &[Fingerprint], new: &[Fingerprint]) -> Diff {
    let pairs = pair(old, new);
    let mut gone = vec![true; old.len()];
    let mut diff = Diff::default();
    // Places in the old list in the order of the new one, and where in the new one.
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for (at, partner) in pairs.into_iter().enumerate() {
        let Some(was) = partner else {
            diff.insertions.insert(at);
            continue;
        };
        gone[was] = false;
        if old[was].content != new[at].content {
            diff.updates.insert(at);
        }
        from.push(was);
        to.push(at);
    }
    diff.deletions = gone.into_iter().enumerate().filter(|(_, gone)| *gone).map(|(i, _)| i).collect();
    let mut staying = longest_increasing(&from).into_iter().peekable();
    for (i, (from, to)) in from.into_iter().zip(to).enumerate() {
        if staying.next_if_eq(&i).is_none() {
            diff.moves.push(DiffMove { from, to });
        }
    }
    diff
}

/// For each new row the old one that it was.
///
/// Of rows with the same identity those with equal content are paired first, each time the first with the first; then
/// the others in order.
fn pair(old: &[Fingerprint], new: &[Fingerprint]) -> Vec<Option<usize>> {
    let mut waiting: HashMap<u128, Group> = HashMap::with_capacity(old.len());
    for (i, row) in old.iter().enumerate() {
        waiting.entry(row.identity).or_default().add(i);
    }
    let mut pairs = vec![None; new.len()];
    let mut shared = Vec::new();
    for (at, row) in new.iter().enumerate() {
        match waiting.get_mut(&row.identity) {
            None => {}
            Some(Group::One(i)) => {
                pairs[at] = i.take();
            }
            Some(Group::Many(_)) => shared.push(at),
        }
    }
    // Identities that several old rows share are rare, so this may take a second look.
    let mut by_content: HashMap<(u128, u128), Queue> = HashMap::new();
    for group in waiting.values() {
        if let Group::Many(rows) = group {
            for i in rows {
                by_content.entry((old[*i].identity, old[*i].content)).or_default().rows.push(*i);
            }
        }
    }
    let mut taken = vec![false; if shared.is_empty() { 0 } else { old.len() }];
    for at in &shared {
        let row = &new[*at];
        if let Some(i) = by_content.get_mut(&(row.identity, row.content)).and_then(Queue::next) {
            pairs[*at] = Some(i);
            taken[i] = true;
        }
    }
    let mut rest: HashMap<u128, usize> = HashMap::new();
    for at in shared {
        let identity = new[at].identity;
        let Some(Group::Many(rows)) = waiting.get(&identity) else { continue };
        if pairs[at].is_some() {
            continue;
        }
        let next = rest.entry(identity).or_default();
        while rows.get(*next).is_some_and(|i| taken[*i]) {
            *next += 1;
        }
        if let Some(i) = rows.get(*next) {
            pairs[at] = Some(*i);
            *next += 1;
        }
    }
    pairs
}

/// Old rows of one identity, ascending.
enum Group {
    One(Option<usize>),
    Many(Vec<usize>),
}

impl Default for Group {
    fn default() -> Self {
        Group::One(None)
    }
}

impl Group {
    fn add(&mut self, i: usize) {
        match self {
            Group::One(None) => *self = Group::One(Some(i)),
            Group::One(Some(first)) => *self = Group::Many(vec![*first, i]),
            Group::Many(rows) => rows.push(i),
        }
    }
}

#[derive(Default)]
struct Queue {
    rows: Vec<usize>,
    next: usize,
}

impl Queue {
    fn next(&mut self) -> Option<usize> {
        let i = self.rows.get(self.next).copied()?;
        self.next += 1;
        Some(i)
    }
}
