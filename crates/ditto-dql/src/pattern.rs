//! LIKE and ILIKE.

/// Whether `text` as a whole matches `pattern`: `%` is any sequence, `_` one character, and `escape` makes a following
/// `%`, `_` or `escape` literal. An escape character before anything else stands for itself.
///
/// Takes time proportional to the product of the lengths in the worst case, and no memory.
pub fn like(text: &str, pattern: &str, escape: char, fold_case: bool) -> bool {
    let (mut text, mut pattern) = (text, pattern);
    // After a `%`: the pattern behind it, and the text where that is tried next.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let (element, rest) = next_element(pattern, escape);
        let matched = match element {
            Element::Any => {
                if rest.is_empty() {
                    return true;
                }
                retry = Some((rest, text));
                pattern = rest;
                continue;
            }
            Element::End if text.is_empty() => return true,
            Element::End => None,
            Element::One => split_char(text).map(|(_, t)| t),
            Element::Char(p) => split_char(text).filter(|(c, _)| same(*c, p, fold_case)).map(|(_, t)| t),
        };
        match matched {
            Some(t) => (text, pattern) = (t, rest),
            None => {
                // Only the last `%` needs to grow: what an earlier one could take, the last can too.
                let Some((behind, from)) = retry else { return false };
                let Some((_, from)) = split_char(from) else { return false };
                retry = Some((behind, from));
                (text, pattern) = (from, behind);
            }
        }
    }
}

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
