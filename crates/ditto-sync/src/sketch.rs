//! Comparing two views without listing them: fingerprints, an estimate of how much differs, and rateless symbols.
//!
//! A view is a set of (key hash, digest). Everything here is a sum over its entries, so a change of one document
//! changes it in place, and the difference of two views is the difference of their sums.
//!
//! * [`Summary`]: number of entries, a 128-bit sum of their hashes (equal views have equal sums), and 64 counters
//!   whose squared differences tell about how many entries differ (Alon, Matias and Szegedy's sketch).
//! * [`Symbol`]: one cell of a rateless invertible Bloom lookup table (Yang, Gilad and Alizadeh, SIGCOMM 2024). An
//!   entry is in cell `i` with probability 1/(1 + i/2), so any prefix of the cells is a table of its own, and about
//!   1.4 times as many cells as differences suffice to find them all.
//!
//! Entries are placed by their key alone, and a cell holds sums modulo a prime of `w`, `w * k1` and `w * k2`, where `w`
//! is 42 bits of the entry's hash and (k1, k2) its key with 20 check bits. Two versions of a document therefore leave a
//! single difference (w - w', (w - w') k1, (w - w') k2), from which a division gives the key: a changed document costs
//! one difference of 16 bytes, not two of 24. A version that is missed has the same 42 bits by chance: 2 in 10^13.

mod decoder;
mod field;
mod summary;
mod symbol;

#[cfg(test)]
mod tests;

pub(crate) use decoder::Decoder;
pub(crate) use summary::{COUNTERS, Sketch, Summary};
pub(crate) use symbol::{Entry, SYMBOL_BYTES, Symbol, add_entry, remove_entry};
