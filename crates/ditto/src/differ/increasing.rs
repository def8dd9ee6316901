//! The longest increasing subsequence: the rows that can stay where they are when the others move.

/// Indexes, ascending, of a longest strictly increasing subsequence of `items`, in `O(n log n)` comparisons.
pub(super) fn longest_increasing<T: Ord>(items: &[T]) -> Vec<usize> {
    // `tails[k]` ends an increasing subsequence of k + 1 items, with the smallest end there is.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        // Rows mostly stay in order, so that the end is the usual place.
        let place = match tails.last() {
            Some(last) if items[*last] >= *item => tails.partition_point(|t| items[*t] < *item),
            _ => tails.len(),
        };
        before.push(place.checked_sub(1).map(|p| tails[p]));
        if place == tails.len() {
            tails.push(i);
        } else {
            tails[place] = i;
        }
    }
    let mut out = Vec::with_capacity(tails.len());
    let mut at = tails.last().copied();
    while let Some(i) = at {
        out.push(i);
        at = before[i];
    }
    out.reverse();
    out
}
