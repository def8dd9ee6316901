//! Regular expressions, within limits that hostile ones cannot leave.

use regex::{Error, Regex, RegexBuilder};

use crate::eval::{Budget, Exceeded};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 16 << 10;

/// Memory that a compiled pattern may take; the time per byte of text grows with it.
const SMALL_PROGRAM: usize = 32 << 10;
const MAX_PROGRAM: usize = 256 << 10;

/// Deepest nesting of groups.
const MAX_NESTING: u32 = 64;

/// Steps that compiling costs, which takes about as long as so many visits of elements.
const COMPILE_STEPS: usize = 10_000;

/// A compiled pattern. Matching takes time linear in the text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    large: bool,
}

impl Pattern {
    /// Compiles a pattern with the flags of `regexp_like`; `None` if pattern or flags are none.
    ///
    /// The letters are `i` and `c` (case-insensitive or not; the last counts), `m` (`^` and `$` at lines), `s` (`.`
    /// matches a line break) and `x` (white space in the pattern is ignored).
    pub(crate) fn regexp(
        pattern: &str,
        flags: Option<&str>,
        budget: &Budget,
    ) -> Result<Option<Self>, Exceeded> {
        if pattern.len() > MAX_PATTERN {
            return Err(Exceeded::Pattern);
        }
        let mut builder = RegexBuilder::new(pattern);
        for flag in flags.unwrap_or_default().chars() {
            match flag {
                'i' => builder.case_insensitive(true),
                'c' => builder.case_insensitive(false),
                'm' => builder.multi_line(true),
                's' => builder.dot_matches_new_line(true),
                'x' => builder.ignore_whitespace(true),
                _ => return Ok(None),
            };
        }
        Self::build(&mut builder, budget)
    }

    /// Compiles a pattern of SIMILAR TO; `None` if it is none.
    pub(crate) fn similar(pattern: &str, escape: char, budget: &Budget) -> Result<Option<Self>, Exceeded> {
        if pattern.len() > MAX_PATTERN {
            return Err(Exceeded::Pattern);
        }
        match super::similar::to_regexp(pattern, escape) {
            Some(pattern) => Self::build(RegexBuilder::new(&pattern).dot_matches_new_line(true), budget),
            None => Ok(None),
        }
    }

    fn build(builder: &mut RegexBuilder, budget: &Budget) -> Result<Option<Self>, Exceeded> {
        builder.nest_limit(MAX_NESTING).dfa_size_limit(MAX_PROGRAM);
        for (size, large) in [(SMALL_PROGRAM, false), (MAX_PROGRAM, true)] {
            budget.step(COMPILE_STEPS)?;
            match builder.size_limit(size).build() {
                Ok(regex) => return Ok(Some(Self { regex, large })),
                Err(Error::CompiledTooBig(_)) => {}
                Err(_) => return Ok(None),
            }
        }
        Err(Exceeded::Pattern)
    }

    /// Whether the pattern occurs in the text.
    pub(crate) fn is_in(&self, text: &str, budget: &Budget) -> Result<bool, Exceeded> {
        budget.step(if self.large { text.len().saturating_mul(16) } else { text.len() / 4 })?;
        Ok(self.regex.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(pattern: &str, flags: Option<&str>, text: &str) -> Option<bool> {
        let budget = Budget::new();
        let p = Pattern::regexp(pattern, flags, &budget).expect("within the limits")?;
        Some(p.is_in(text, &budget).expect("within the limits"))
    }

    #[test]
    fn flags() {
        assert_eq!(test("b", None, "abc"), Some(true));
        assert_eq!(test("^b", None, "abc"), Some(false));
        assert_eq!(test("B", None, "abc"), Some(false));
        assert_eq!(test("B", Some("i"), "abc"), Some(true));
        assert_eq!(test("B", Some("ic"), "abc"), Some(false));
        assert_eq!(test("^b", Some("m"), "a\nb"), Some(true));
        assert_eq!(test("a.b", Some("s"), "a\nb"), Some(true));
        assert_eq!(test("a.b", None, "a\nb"), Some(false));
        assert_eq!(test("a b", Some("x"), "ab"), Some(true));
        assert_eq!(test("a", Some("q"), "a"), None);
        assert_eq!(test("(", None, "a"), None);
    }

    #[test]
    fn hostile_patterns_are_refused() {
        let budget = Budget::new();
        let long = "a".repeat(MAX_PATTERN + 1);
        assert_eq!(Pattern::regexp(&long, None, &budget).map(|_| ()), Err(Exceeded::Pattern));
        let nested = "(((a{1,100}){1,100}){1,100}){1,100}";
        assert_eq!(Pattern::regexp(nested, None, &budget).map(|_| ()), Err(Exceeded::Pattern));
        let deep = format!("{}a{}", "(".repeat(5000), ")".repeat(5000));
        assert!(Pattern::regexp(&deep, None, &budget).is_ok_and(|p| p.is_none()));
        // Exponential for engines that backtrack.
        assert_eq!(test("^(a+)+$", None, &format!("{}b", "a".repeat(10_000))), Some(false));
    }
}
