//! The table `key`: which row holds the document with a key hash.
//!
//! It is a table and no index of `docs`, so that a statement with many documents can make all of its entries at once, in
//! the order of their hashes, and learns from the same step which documents exist already.
//!
//! Hashes can be the same for two ids. Then the entries have different numbers, `twin`, and as long as there is an entry
//! of a hash there is one with the number 0: whoever fails to [`CLAIM`] it has to look for the id.

use std::sync::LazyLock;

use ditto_types::KeyHash;

use crate::StoreError;
use crate::check::CheckReport;
use crate::driver::{Db, GROUP, GroupInsert, Param};
use crate::schema::{khash_from_sql, khash_to_sql};

/// Makes the first entry of a hash; changes no row when there is one.
pub(crate) const CLAIM: &str =
    "INSERT INTO key(coll, khash, twin, rid) VALUES(?1, ?2, 0, ?3) ON CONFLICT DO NOTHING";

/// [`CLAIM`] for many hashes.
static CLAIMS: LazyLock<GroupInsert<1, 2>> = LazyLock::new(|| {
    GroupInsert::new("INSERT OR IGNORE INTO key(coll, khash, twin, rid) VALUES", "(?1, ?, 0, ?)")
});

/// Makes the first entries of these hashes for these rows, which are nobody's yet, in this order, and calls `claimed`
/// with the places of those that it has made.
pub(crate) fn claim_all(
    db: &Db,
    coll: u32,
    wanted: &[(KeyHash, i64)],
    poll: impl Fn() -> Result<(), StoreError>,
    mut claimed: impl FnMut(usize),
) -> Result<(), StoreError> {
    let mut claims = CLAIMS.with(db, [Param::Int(coll.into())]);
    let mut rows = Vec::with_capacity(GROUP);
    for (group, start) in wanted.chunks(GROUP).zip((0..).step_by(GROUP)) {
        poll()?;
        rows.clear();
        rows.extend(group.iter().map(|(key, rid)| [Param::Int(khash_to_sql(*key)), Param::Int(*rid)]));
        let all = claims.exec(&rows)? == rows.len();
        for (i, (key, rid)) in group.iter().enumerate() {
            if all || is_ours(db, &entry(coll, *key, *rid))? {
                claimed(start + i);
            }
        }
    }
    Ok(())
}

/// Whether the first entry of a hash is that of a row.
fn is_ours(db: &Db, entry: &[Param<'_>; 3]) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM key WHERE coll = ?1 AND khash = ?2 AND twin = 0 AND rid = ?3";
    Ok(db.query_one(sql, entry, |_| Ok(()))?.is_some())
}

/// Parameters of [`CLAIM`].
pub(crate) fn entry(coll: u32, key: KeyHash, rid: i64) -> [Param<'static>; 3] {
    [Param::Int(coll.into()), Param::Int(khash_to_sql(key)), Param::Int(rid)]
}

/// Makes the entry of a document that has none.
pub(crate) fn add(db: &Db, coll: u32, key: KeyHash, rid: i64) -> Result<(), StoreError> {
    let entry = entry(coll, key, rid);
    if db.exec(CLAIM, &entry)? == 0 {
        db.exec(
            "INSERT INTO key(coll, khash, twin, rid)
             SELECT ?1, ?2, max(twin) + 1, ?3 FROM key WHERE coll = ?1 AND khash = ?2",
            &entry,
        )?;
    }
    Ok(())
}

/// Removes the entry of a document.
pub(crate) fn remove(db: &Db, coll: u32, key: KeyHash, rid: i64) -> Result<(), StoreError> {
    let entry = entry(coll, key, rid);
    db.exec("DELETE FROM key WHERE coll = ?1 AND khash = ?2 AND rid = ?3", &entry)?;
    db.exec(
        "UPDATE key SET twin = 0 WHERE coll = ?1 AND khash = ?2 AND twin > 0
         AND twin = (SELECT min(twin) FROM key WHERE coll = ?1 AND khash = ?2)",
        &entry[..2],
    )?;
    Ok(())
}

/// Looks for entries of no document, and for hashes that several documents have.
pub(crate) fn check(db: &Db, documents: u64, report: &mut CheckReport) -> Result<(), StoreError> {
    let mut entries = 0;
    db.query("SELECT coll, khash, count(*), min(twin) FROM key GROUP BY coll, khash", &[], |row| {
        entries += row.uint(2)?;
        let (coll, khash) = (row.int(0)?, khash_from_sql(row.int(1)?).0);
        if row.int(2)? > 1 {
            report
                .problem(format!("collection {coll}: {} documents share key hash {khash:016x}", row.int(2)?));
        }
        if row.int(3)? != 0 {
            report.problem(format!("collection {coll}: key hash {khash:016x} has no first entry"));
        }
        Ok(true)
    })?;
    if entries != documents {
        report.problem(format!("there are {documents} documents and {entries} entries of keys"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Durability;
    use crate::schema;

    fn entries(db: &Db) -> Vec<(i64, i64)> {
        let mut out = Vec::new();
        db.query("SELECT twin, rid FROM key WHERE coll = 1 ORDER BY khash, twin", &[], |r| {
            out.push((r.int(0)?, r.int(1)?));
            Ok(true)
        })
        .unwrap();
        out
    }

    #[test]
    fn of_many_hashes_those_are_claimed_that_nobody_has() {
        let dir = tempfile::tempdir().unwrap();
        let db = schema::open_file(&dir.path().join(schema::DB_FILE), Durability::Normal).unwrap();
        for taken in [3, 20, 39] {
            add(&db, 1, KeyHash(taken), 900 + taken as i64).unwrap();
        }
        // Two whole groups and a part, the second without a conflict, and one hash twice.
        let mut wanted: Vec<_> = (0..2 * GROUP as u64 + 9).map(|i| (KeyHash(i), 100 + i as i64)).collect();
        wanted[6].0 = wanted[5].0;
        wanted.retain(|(key, _)| key.0 != 20);
        let mut claimed = Vec::new();
        claim_all(&db, 1, &wanted, || Ok(()), |i| claimed.push(i)).unwrap();
        let free: Vec<_> =
            (0..wanted.len()).filter(|i| ![3, 6].contains(i) && wanted[*i].0.0 != 39).collect();
        assert_eq!(claimed, free);
        let mut rids: Vec<_> = entries(&db).into_iter().map(|(_, rid)| rid).collect();
        rids.sort_unstable();
        let mut expected: Vec<_> = free.iter().map(|i| wanted[*i].1).chain([903, 920, 939]).collect();
        expected.sort_unstable();
        assert_eq!(rids, expected);
    }

    #[test]
    fn a_hash_always_has_an_entry_number_0() {
        let dir = tempfile::tempdir().unwrap();
        let db = schema::open_file(&dir.path().join(schema::DB_FILE), Durability::Normal).unwrap();
        let key = KeyHash(1 << 63 | 5);
        for rid in [10, 11, 12] {
            add(&db, 1, key, rid).unwrap();
        }
        add(&db, 1, KeyHash(6), 20).unwrap();
        add(&db, 2, key, 30).unwrap();
        assert_eq!(entries(&db), [(0, 20), (0, 10), (1, 11), (2, 12)]);
        assert_eq!(db.exec(CLAIM, &entry(1, key, 13)).unwrap(), 0);
        remove(&db, 1, key, 10).unwrap();
        assert_eq!(entries(&db), [(0, 20), (0, 11), (2, 12)]);
        remove(&db, 1, key, 12).unwrap();
        add(&db, 1, key, 14).unwrap();
        assert_eq!(entries(&db), [(0, 20), (0, 11), (1, 14)]);
        for rid in [14, 11] {
            remove(&db, 1, key, rid).unwrap();
        }
        assert_eq!(entries(&db), [(0, 20)]);
        assert_eq!(db.exec(CLAIM, &entry(1, key, 13)).unwrap(), 1);
    }
}
