//! Guessing from counters whether what differs came last.
//!
//! The counters of two views differ by the signs of what only one side has. The signs of the sender's last documents,
//! multiplied with that difference, tell how many of them are in it: each that is adds about one, others nothing. If
//! most are, the commits that brought them are sent as after an absence.

use super::Core;
use crate::sketch::{COUNTERS, Entry, Sketch, Summary};
use crate::store::{Newest, SyncStore, SyncStoreError};

/// Differences above which nothing is guessed, in documents.
const MAX_DOCS: u64 = 16_384;

/// Documents are sent whole. Where they are larger on average, in bytes, requests for what is missing cost less.
const MAX_MEAN_BYTES: usize = 1_024;

/// Part of the last documents that must be in the difference. Chance gives less: with the counters there are it errs by
/// a sixth, one standard deviation.
const PART: f64 = 0.6;

/// Part of the difference that must be among the last documents.
const WORTH: f64 = 0.7;

impl<S: SyncStore> Core<S> {
    /// The commit after which most changes of a view are what a receiver lacks, whose sketch this is.
    pub(crate) fn recent_difference(
        &self,
        query: &S::Query,
        ours: &Summary,
        theirs: &Sketch,
    ) -> Result<Option<u64>, SyncStoreError> {
        let differences = ours.difference(theirs);
        if differences > MAX_DOCS {
            return Ok(None);
        }
        // Beyond what the estimate may be wrong by, so that the commit in which the difference begins is seen.
        let newest = self.store.newest(query, (differences * 3 / 2 + 16) as usize)?;
        Ok(begins_after(&ours.signs_without(theirs), differences, &newest))
    }
}

/// Where what differs begins, if it is what came last; documents are given from the newest on.
fn begins_after(signs: &[f64; COUNTERS], differences: u64, newest: &[Newest]) -> Option<u64> {
    let (mut found, mut bytes) = (0.0, 0);
    let mut best: Option<(f64, u64)> = None;
    for (i, doc) in newest.iter().enumerate() {
        let entry = Entry::new(doc.key, &doc.digest);
        found += (0..COUNTERS).map(|c| signs[c] * f64::from(entry.sign(c))).sum::<f64>() / COUNTERS as f64;
        bytes += doc.bytes;
        // Commits are not divided; whether the last one given is complete is not known.
        if newest.get(i + 1).is_none_or(|next| next.seq == doc.seq) {
            continue;
        }
        let n = (i + 1) as f64;
        let gain = found - PART * n;
        if gain > best.map_or(0.0, |(gain, _)| gain)
            && n >= WORTH * differences as f64
            && bytes / (i + 1) <= MAX_MEAN_BYTES
        {
            best = Some((gain, doc.seq - 1));
        }
    }
    best.map(|(_, after)| after)
}

#[cfg(test)]
mod tests {
    use ditto_types::{Digest, KeyHash};

    use super::*;
    use crate::sim::rng::Rng;

    /// Views of 1,000 documents each changed in a commit of its own; `changed` says which of them the receiver has in an
    /// older version. Gives the number of documents that would be sent.
    fn sent(seed: u64, size: usize, changed: impl Fn(u64) -> bool) -> usize {
        let mut rng = Rng::new(seed);
        let mut digest = || {
            let mut bytes = [0; 16];
            bytes.iter_mut().for_each(|b| *b = rng.below(256) as u8);
            Digest(bytes)
        };
        let (mut ours, mut theirs, mut newest) = (Summary::default(), Summary::default(), Vec::new());
        for seq in 1..=1_000u64 {
            let key = KeyHash(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (new, old) = (digest(), digest());
            ours.add(&Entry::new(key, &new));
            theirs.add(&Entry::new(key, if changed(seq) { &old } else { &new }));
            newest.push(Newest { seq, key, digest: new, bytes: size });
        }
        newest.reverse();
        let theirs = theirs.sketch();
        let differences = ours.difference(&theirs);
        newest.truncate((differences * 3 / 2 + 16) as usize);
        let after = begins_after(&ours.signs_without(&theirs), differences, &newest);
        after.map_or(0, |after| (1_000 - after) as usize)
    }

    #[test]
    fn what_came_last_is_found() {
        for d in [3, 30, 300] {
            let found = (0..200).filter(|seed| {
                let n = sent(*seed, 200, |seq| seq > 1_000 - d);
                n * 10 >= d as usize * 6 && n * 10 <= d as usize * 15
            });
            assert!(found.count() >= 180, "{d}");
        }
    }

    #[test]
    fn what_is_scattered_or_large_is_not_sent() {
        for every in [10, 100] {
            let wrong = (0..200).filter(|seed| sent(*seed, 200, |seq| seq % every == 0) > 0);
            // Of 1,000 documents a few of the last are always among those that differ.
            assert!(wrong.count() <= 16, "{every}");
        }
        assert!((0..50).all(|seed| sent(seed, 2_000, |seq| seq > 900) == 0));
    }
}
