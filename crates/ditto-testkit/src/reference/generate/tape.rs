//! Numbers that decide.

/// A finite list of numbers to decide with; zeros follow after its end.
#[derive(Clone, Debug)]
pub struct Tape {
    numbers: Vec<u32>,
    at: usize,
}

impl Tape {
    /// A tape of these numbers.
    pub fn new(numbers: impl Into<Vec<u32>>) -> Self {
        Self { numbers: numbers.into(), at: 0 }
    }

    fn next(&mut self) -> u32 {
        let n = self.numbers.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        n
    }

    /// A number below `bound`, which is above 0. Smaller numbers on the tape give smaller results.
    pub fn below(&mut self, bound: u64) -> u64 {
        (u64::from(self.next()) * bound) >> 32
    }

    /// True in `part` of `whole` cases, and never on zero.
    pub fn chance(&mut self, part: u64, whole: u64) -> bool {
        self.below(whole) >= whole - part
    }

    /// One of `items`, the first on zero.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Whether all numbers were taken.
    pub fn is_over(&self) -> bool {
        self.at >= self.numbers.len()
    }
}
