//! Patterns: LIKE and ILIKE here, SIMILAR TO and regular expressions below.

mod regexp;
mod similar;

pub(crate) use regexp::Pattern;

use crate::eval::{Budget, Exceeded};

/// LIKE on its own. Comparisons beyond [`MAX_EVALUATION_STEPS`](crate::MAX_EVALUATION_STEPS) find no match.
///
/// `%` is any sequence, `_` one character; `escape` makes a following `%`, `_` or `escape` literal.
pub fn like(text: &str, pattern: &str, escape: char, fold_case: bool) -> bool {
    like_within(text, pattern, escape, fold_case, &Budget::new()).unwrap_or(false)
}

/// Whether `text` as a whole matches `pattern`: `%` is any sequence, `_` one character, and `escape` makes a following
/// `%`, `_` or `escape` literal. An escape character before anything else stands for itself.
///
/// Takes time proportional to the product of the lengths in the worst case, which the budget bounds, and no memory.
pub(crate) fn like_within(
    text: &str,
    pattern: &str,
    escape: char,
    fold_case: bool,
    budget: &Budget,
) -> Result<bool, Exceeded> {
    let (mut text, mut pattern) = (text, pattern);
    // After a `%`: the pattern behind it, and the text where that is tried next.
    let mut retry: Option<(&str, &str)> = None;
    // Counted here, for a short text must not cost more than its comparison.
    let mut steps = 0usize;
    loop {
        steps += 1;
        if steps.is_multiple_of(BATCH) {
            budget.step(BATCH)?;
        }
        let (element, rest) = next_element(pattern, escape);
        let matched = match element {
            Element::Any => {
                if rest.is_empty() {
                    return Ok(true);
                }
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            Element::End if text.is_empty() => return Ok(true),
            Element::End => None,
            Element::One => split_char(text).map(|(_, t)| t),
            Element::Char(p) => split_char(text).filter(|(c, _)| same(*c, p, fold_case)).map(|(_, t)| t),
        };
        match matched {
            Some(t) => (text, pattern) = (t, rest),
            None => {
                // Only the last `%` needs to grow: what an earlier one could take, the last can too.
                let Some((behind, from)) = retry else { return Ok(false) };
                let Some((_, from)) = split_char(from) else { return Ok(false) };
                retry = Some((behind, from));
                (text, pattern) = (from, behind);
            }
        }
    }
}

/// Characters compared between two looks at the budget.
const BATCH: usize = 4096;

enum Element {
    Any,
    One,
    Char(char),
    End,
}

fn next_element(pattern: &str, escape: char) -> (Element, &str) {
    match split_char(pattern) {
        None => (Element::End, ""),
        Some((c, rest)) if c == escape => match split_char(rest) {
            Some((e, behind)) if e == '%' || e == '_' || e == escape => (Element::Char(e), behind),
            _ => (Element::Char(c), rest),
        },
        Some(('%', rest)) => (Element::Any, rest),
        Some(('_', rest)) => (Element::One, rest),
        Some((c, rest)) => (Element::Char(c), rest),
    }
}

fn split_char(s: &str) -> Option<(char, &str)> {
    let mut chars = s.chars();
    let c = chars.next()?;
    Some((c, chars.as_str()))
}

fn same(a: char, b: char, fold_case: bool) -> bool {
    a == b || fold_case && a.to_lowercase().eq(b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_table() {
        let yes = [
            ("", ""),
            ("", "%"),
            ("abc", "abc"),
            ("abc", "a%"),
            ("abc", "%c"),
            ("abc", "%b%"),
            ("abc", "a_c"),
            ("abc", "___"),
            ("abc", "%%%"),
            ("aXbXc", "a%b%c"),
            ("aabab", "%ab"),
            ("日本", "__"),
            ("50%", r"50\%"),
            ("a_b", r"a\_b"),
            (r"a\b", r"a\\b"),
            (r"a\b", r"a\b"),
            ("a\\", "a\\"),
            ("mississippi", "%iss%ip%"),
        ];
        for (s, p) in yes {
            assert!(like(s, p, '\\', false), "{s:?} LIKE {p:?}");
        }
        let no = [
            ("", "_"),
            ("abc", ""),
            ("abc", "ab"),
            ("abc", "bc"),
            ("abc", "a_"),
            ("abc", "ABC"),
            ("505", r"50\%"),
            ("axb", r"a\_b"),
            ("日本", "_"),
            ("mississippi", "%iss%ix%"),
            ("a", "%_b"),
        ];
        for (s, p) in no {
            assert!(!like(s, p, '\\', false), "{s:?} NOT LIKE {p:?}");
        }
    }

    #[test]
    fn the_worst_case_is_bounded() {
        let (text, pattern) = ("a".repeat(100_000), format!("%{}b", "a".repeat(50_000)));
        let result = like_within(&text, &pattern, '\\', false, &Budget::new());
        assert_eq!(result, Err(Exceeded::Steps));
    }

    #[test]
    fn escape_and_case() {
        assert!(like("50%", "50!%", '!', false));
        assert!(like("a!b", "a!!b", '!', false));
        assert!(like(r"a\b", r"a\b", '!', false));
        // The escape character may be a wildcard.
        assert!(like("a%b", "a%%b", '%', false));
        assert!(!like("axb", "a%%b", '%', false));
        assert!(!like("Straße", "straSSe", '\\', true));
        assert!(like("ÄBC", "ä_c", '\\', true));
        assert!(!like("ÄBC", "ä_c", '\\', false));
    }
}
