//! Sets of the kinds that values in documents have.

/// A set of kinds of values (`dql.md` 3.3). The bits are part of the file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KindSet(u8);

impl KindSet {
    /// No kind.
    pub const NONE: KindSet = KindSet(0);
    /// A value that is replaced as a whole.
    pub const REGISTER: KindSet = KindSet(1);
    /// A map, whose fields merge one by one.
    pub const MAP: KindSet = KindSet(2);
    /// A counter.
    pub const COUNTER: KindSet = KindSet(4);
    /// A legacy counter.
    pub const PN_COUNTER: KindSet = KindSet(8);
    /// An attachment token.
    pub const ATTACHMENT: KindSet = KindSet(16);

    const ALL: u8 = 31;

    /// The set as a byte.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set of a byte; `None` for one that is no set of known kinds.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self(bits))
    }

    /// Whether every kind of `other` is in this set.
    pub fn contains(self, other: KindSet) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether there is no kind in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds of both.
    #[must_use]
    pub fn with(self, other: KindSet) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sets_and_unknown_bits_are_refused() {
        let both = KindSet::REGISTER.with(KindSet::COUNTER);
        assert!(both.contains(KindSet::COUNTER) && both.contains(KindSet::NONE) && both.contains(both));
        assert!(!both.contains(KindSet::MAP) && !KindSet::COUNTER.contains(both));
        assert!(KindSet::NONE.is_empty() && !both.is_empty());
        for bits in 0..=u8::MAX {
            assert_eq!(KindSet::from_bits(bits).map(KindSet::bits), (bits < 32).then_some(bits));
        }
    }
}
