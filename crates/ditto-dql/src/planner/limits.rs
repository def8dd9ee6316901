//! What the directives come to.

use crate::directives::Directives;

/// Index scans of one term when nothing else is said.
const MAX_SCANS: u64 = 5;
/// Items of an IN list that become spans.
const MAX_INLIST: u64 = 16_384;
/// Spans of one index scan.
const MAX_SPANS: u64 = 16_384;
/// Indexes of an intersection.
const INTERSECTS: u64 = 3;
/// Joined terms.
const MAX_JOINS: u64 = 10;

/// The directives in force, with the defaults of this engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) disable_index_scan: bool,
    pub(crate) prefer_order: bool,
    pub(crate) intersects: usize,
    pub(crate) max_scans: usize,
    pub(crate) max_inlist: usize,
    pub(crate) max_spans: usize,
    pub(crate) max_joins: usize,
}

impl Limits {
    /// The first of `directives` that says something counts.
    pub(crate) fn of(directives: &[&Directives]) -> Self {
        fn first<T: Copy>(directives: &[&Directives], get: impl Fn(&Directives) -> Option<T>) -> Option<T> {
            directives.iter().find_map(|d| get(d))
        }
        let number = |get: fn(&Directives) -> Option<u64>, default: u64| {
            usize::try_from(first(directives, get).unwrap_or(default)).unwrap_or(usize::MAX)
        };
        let or_default = |n: usize, default: u64| if n == 0 { default as usize } else { n };
        Self {
            disable_index_scan: first(directives, |d| d.disable_index_scan).unwrap_or(false),
            prefer_order: first(directives, |d| d.prefer_order).unwrap_or(false),
            intersects: or_default(number(|d| d.intersects, 0), INTERSECTS),
            max_scans: number(|d| d.max_scans, MAX_SCANS),
            max_inlist: number(|d| d.max_inlist, MAX_INLIST),
            max_spans: number(|d| d.max_serial_ranges, MAX_SPANS).min(MAX_SPANS as usize),
            max_joins: number(|d| d.max_joins, MAX_JOINS).min(MAX_JOINS as usize),
        }
    }
}
