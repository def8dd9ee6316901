//! Directives to the planner: of the settings, of comments, and of USE DIRECTIVES and USE INDEX.

use std::collections::BTreeMap;

use ditto_types::{Object, SmolStr, Value};

/// What a user tells the planner; `None` leaves the choice to what is less specific, in the end to the default.
///
/// Unknown names and values of a wrong type are ignored: a directive is a hint and must never make a statement fail.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directives {
    /// `#disable_index_scan`: never consider index scans (false).
    pub disable_index_scan: Option<bool>,
    /// `#prefer_order`: an index that gives the order wins over one that selects better (false).
    pub prefer_order: Option<bool>,
    /// `#intersects`: most indexes of an intersection; 0 is the default.
    pub intersects: Option<u64>,
    /// `#max_scans`: most index scans of a statement (5).
    pub max_scans: Option<u64>,
    /// `#max_inlist`: most items of an IN list that become spans.
    pub max_inlist: Option<u64>,
    /// `#max_serial_ranges`: most spans of an index scan.
    pub max_serial_ranges: Option<u64>,
    /// `#max_joins`: most joined terms (10).
    pub max_joins: Option<u64>,
    /// `#reprepare`: the text is parsed and checked at each execution, whatever is kept of earlier ones (false).
    pub reprepare: Option<bool>,
    /// `#index` for the rows of one collection or alias. No names force a scan of the collection.
    pub index: BTreeMap<SmolStr, Vec<SmolStr>>,
}

/// Directives that say nothing.
pub static NO_DIRECTIVES: Directives = Directives {
    disable_index_scan: None,
    prefer_order: None,
    intersects: None,
    max_scans: None,
    max_inlist: None,
    max_serial_ranges: None,
    max_joins: None,
    reprepare: None,
    index: BTreeMap::new(),
};

impl Directives {
    /// These directives, and where they say nothing those of `other`.
    pub(crate) fn over(self, other: &Directives) -> Self {
        let mut index = other.index.clone();
        index.extend(self.index);
        Self {
            disable_index_scan: self.disable_index_scan.or(other.disable_index_scan),
            prefer_order: self.prefer_order.or(other.prefer_order),
            intersects: self.intersects.or(other.intersects),
            max_scans: self.max_scans.or(other.max_scans),
            max_inlist: self.max_inlist.or(other.max_inlist),
            max_serial_ranges: self.max_serial_ranges.or(other.max_serial_ranges),
            max_joins: self.max_joins.or(other.max_joins),
            reprepare: self.reprepare.or(other.reprepare),
            index,
        }
    }

    /// Reads a directives object, as of the setting `dql_default_directives`. A member whose name has no `#` is a
    /// collection or alias with the directives for it.
    pub fn from_object(object: &Object) -> Self {
        let mut out = Self::default();
        for (name, value) in object {
            let flag = value.as_bool();
            let number = value.as_i64().and_then(|n| u64::try_from(n).ok());
            match name.as_str() {
                "#disable_index_scan" => out.disable_index_scan = flag,
                "#prefer_order" => out.prefer_order = flag,
                "#intersects" => out.intersects = number,
                "#max_scans" => out.max_scans = number,
                "#max_inlist" => out.max_inlist = number,
                "#max_serial_ranges" => out.max_serial_ranges = number,
                "#max_joins" => out.max_joins = number,
                "#reprepare" => out.reprepare = flag,
                _ if name.starts_with('#') => {}
                _ => {
                    if let Some(names) = value.get("#index").and_then(index_names) {
                        out.index.insert(name.clone(), names);
                    }
                }
            }
        }
        out
    }
}

/// The value of `#index`: a name, an array of names, or nothing of both for a scan of the collection.
pub(crate) fn index_names(value: &Value) -> Option<Vec<SmolStr>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Str(s) if s.is_empty() => Some(Vec::new()),
        Value::Str(s) => Some(vec![s.clone()]),
        Value::Array(a) => {
            Some(a.iter().filter_map(Value::as_str).filter(|s| !s.is_empty()).map(SmolStr::new).collect())
        }
        _ => None,
    }
}
