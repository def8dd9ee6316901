//! SIMILAR TO: the wildcards of LIKE together with `|`, `( )`, `[ ]` and the repetitions `* + ? {n}`.

use std::iter::Peekable;
use std::str::Chars;

/// The regular expression of a pattern, over the whole text; `None` if the pattern is none.
///
/// All other characters stand for themselves, also `.`, `^` and `$`.
pub(super) fn to_regexp(pattern: &str, escape: char) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    out.push_str(r"\A(?:");
    let mut chars = pattern.chars().peekable();
    let mut depth = 0usize;
    // Whether a repetition can follow: not at the beginning, and not after another one.
    let mut repeatable = false;
    while let Some(c) = chars.next() {
        let mut after = true;
        match c {
            c if c == escape => match chars.next() {
                Some(c) => literal(c, &mut out),
                None => literal(c, &mut out),
            },
            '%' => out.push_str("(?:.*)"),
            '_' => out.push('.'),
            '|' => {
                out.push('|');
                after = false;
            }
            '(' => {
                depth += 1;
                out.push_str("(?:");
                after = false;
            }
            ')' => {
                depth = depth.checked_sub(1)?;
                out.push(')');
            }
            '*' | '+' | '?' if repeatable => {
                out.push(c);
                after = false;
            }
            '{' if repeatable => {
                repetition(&mut chars, &mut out)?;
                after = false;
            }
            '*' | '+' | '?' | '{' => return None,
            '[' => set(&mut chars, escape, &mut out)?,
            c => literal(c, &mut out),
        }
        repeatable = after;
    }
    if depth > 0 {
        return None;
    }
    out.push_str(r")\z");
    Some(out)
}

fn literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// `{n}`, `{n,}` or `{n,m}` after its brace.
fn repetition(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('{');
    let (mut digits, mut comma) = (0, false);
    loop {
        match chars.next()? {
            c if c.is_ascii_digit() => {
                digits += usize::from(!comma);
                out.push(c);
            }
            ',' if !comma && digits > 0 => {
                comma = true;
                out.push(',');
            }
            '}' if digits > 0 => {
                out.push('}');
                return Some(());
            }
            _ => return None,
        }
    }
}

/// A set after its bracket: characters, ranges `a-z` and classes `[:alpha:]`; `^` at its start inverts it.
fn set(chars: &mut Peekable<Chars<'_>>, escape: char, out: &mut String) -> Option<()> {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let c = match chars.next()? {
            ']' if !first => break,
            '[' if chars.peek() == Some(&':') => {
                class(chars, out)?;
                first = false;
                continue;
            }
            c if c == escape => chars.next()?,
            // A range; at either end of the set it is the character.
            '-' if !first && chars.peek().is_some_and(|c| *c != ']') => {
                out.push('-');
                continue;
            }
            c => c,
        };
        literal(c, out);
        first = false;
    }
    out.push(']');
    Some(())
}

/// Names of the classes, as in POSIX.
const CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// `[:name:]` after its bracket.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Option<()> {
    chars.next_if_eq(&':')?;
    let mut name = String::new();
    while let Some(c) = chars.next_if(char::is_ascii_lowercase) {
        name.push(c);
    }
    chars.next_if_eq(&':')?;
    chars.next_if_eq(&']')?;
    CLASSES.binary_search(&name.as_str()).ok()?;
    out.push_str("[:");
    out.push_str(&name);
    out.push_str(":]");
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::eval::Budget;
    use crate::pattern::Pattern;

    fn test(text: &str, pattern: &str) -> Option<bool> {
        let budget = Budget::new();
        let p = Pattern::similar(pattern, '\\', &budget).expect("within the limits")?;
        Some(p.is_in(text, &budget).expect("within the limits"))
    }

    #[test]
    fn table() {
        let yes = [
            ("abc", "abc"),
            ("abc", "a%"),
            ("abc", "_b_"),
            ("abc", "a(b|x)c"),
            ("axc", "a(b|x)c"),
            ("abc", "(abc|def)"),
            ("def", "abc|def"),
            ("a.c", "a.c"),
            ("a$", "a$"),
            ("^a", "^a"),
            ("aaa", "a*"),
            ("", "a*"),
            ("aaa", "a+"),
            ("", "a?"),
            ("aaa", "a{3}"),
            ("aaa", "a{2,}"),
            ("aaa", "a{1,3}"),
            ("b", "[abc]"),
            ("b", "[a-c]"),
            ("-", "[a-]"),
            ("-", "[-a]"),
            ("]", "[]a]"),
            ("d", "[^a-c]"),
            ("&", "[&&~]"),
            ("5", "[[:digit:]]"),
            ("a%", r"a\%"),
            ("a|b", r"a\|b"),
            ("a\nb", "a%b"),
            ("é", "_"),
            ("", ""),
        ];
        for (text, pattern) in yes {
            assert_eq!(test(text, pattern), Some(true), "{text:?} SIMILAR TO {pattern:?}");
        }
        let no = [
            ("xabc", "abc"),
            ("abcx", "abc"),
            ("axc", "a.c"),
            ("", "a+"),
            ("aa", "a{3}"),
            ("ABC", "abc"),
            ("d", "[a-c]"),
            ("abcdef", "abc|def"),
        ];
        for (text, pattern) in no {
            assert_eq!(test(text, pattern), Some(false), "{text:?} SIMILAR TO {pattern:?}");
        }
        for pattern in
            ["(", ")", "*a", "a**", "a+?", "(?i:a)", "a{", "a{x}", "a{2", "[a", "[", "[[:nope:]]", "a{3,1}"]
        {
            assert_eq!(test("a", pattern), None, "{pattern:?}");
        }
    }
}
