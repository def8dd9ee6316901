//! Sets of documents as sorted row ids: what several access paths have together.

use std::cmp::Ordering;

use ditto_dql::{Access, CollectionRef, DqlError};
use ditto_types::ErrorKind;

use super::{StoreSource, rid_range};
use crate::StoreError;
use crate::driver::Param;
use crate::row::Reading;
use crate::schema::{FLAG_DEAD, by_id, khash_to_sql};

/// Row ids that one statement keeps at most: 256 MiB.
const MAX_RIDS: usize = 32 * 1024 * 1024;

/// Row ids between two questions whether to go on.
const INTERRUPT_EVERY: usize = 256;

impl StoreSource<'_> {
    /// The row ids of an access path, ascending and without duplicates.
    pub(super) fn rids(
        &self,
        coll: u32,
        collection: &CollectionRef,
        access: &Access,
        reading: Reading<'_>,
    ) -> Result<Vec<i64>, StoreError> {
        let mut out = Vec::new();
        match access {
            Access::Ids(ids) => {
                for id in ids {
                    let khash = khash_to_sql(self.hash_key.key_hash(&collection.name, id));
                    let rid = self.db.query_one(
                        by_id!("flags, rid"),
                        &[Param::Int(coll.into()), Param::Int(khash), Param::Blob(id.as_bytes())],
                        |r| Ok((r.int(0)? & FLAG_DEAD == 0).then_some(r.int(1)?)),
                    )?;
                    if let Some(rid) = rid.flatten() {
                        self.push(&mut out, rid)?;
                    }
                }
                out.sort_unstable();
            }
            Access::Scan => {
                let (first, last) = rid_range(coll);
                self.db.query(
                    "SELECT rid FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0 ORDER BY rid",
                    &[Param::Int(first), Param::Int(last)],
                    |r| self.push(&mut out, r.int(0)?).map(|()| true),
                )?;
            }
            Access::Index(scan) => {
                self.entry_rids(collection, scan, reading, |rid| self.push(&mut out, rid))?;
                out.sort_unstable();
            }
            Access::Union(parts) => {
                for part in parts {
                    let more = self.rids(coll, collection, part, reading)?;
                    if out.len() + more.len() > MAX_RIDS {
                        return Err(too_many());
                    }
                    out.extend(more);
                }
                out.sort_unstable();
                out.dedup();
            }
            Access::Intersect(parts) => {
                let mut parts = parts.iter();
                if let Some(first) = parts.next() {
                    out = self.rids(coll, collection, first, reading)?;
                }
                for part in parts {
                    if out.is_empty() {
                        break;
                    }
                    keep_common(&mut out, &self.rids(coll, collection, part, reading)?);
                }
            }
        }
        Ok(out)
    }

    fn push(&self, out: &mut Vec<i64>, rid: i64) -> Result<(), StoreError> {
        if out.len() >= MAX_RIDS {
            return Err(too_many());
        }
        if let Some(interrupt) = self.interrupt.filter(|_| out.len().is_multiple_of(INTERRUPT_EVERY)) {
            interrupt.poll()?;
        }
        out.push(rid);
        Ok(())
    }
}

fn too_many() -> StoreError {
    let text = format!("an index scan holds more than {MAX_RIDS} documents");
    DqlError::new(ErrorKind::SizeLimitExceeded, text).into()
}

/// Keeps what `other` has as well; both are ascending.
fn keep_common(ours: &mut Vec<i64>, other: &[i64]) {
    let mut at = 0;
    ours.retain(|rid| {
        while let Some(theirs) = other.get(at) {
            match theirs.cmp(rid) {
                Ordering::Less => at += 1,
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_rows() {
        let common = |a: &[i64], b: &[i64]| {
            let mut a = a.to_vec();
            keep_common(&mut a, b);
            a
        };
        assert_eq!(common(&[1, 3, 5, 9], &[2, 3, 4, 9, 10]), [3, 9]);
        assert!(common(&[1, 2], &[]).is_empty());
        assert!(common(&[], &[1]).is_empty());
        assert!(common(&[5], &[1, 2]).is_empty());
    }
}
