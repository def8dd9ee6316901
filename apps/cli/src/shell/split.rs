//! Where one statement ends and the next begins, without reading more of the language than it takes.

/// The first statement of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split<'a> {
    /// Nothing but blanks, comments and semicolons.
    Empty,
    /// A statement that a semicolon ends, and what follows it.
    Ended(&'a str, &'a str),
    /// The rest of the text, without a semicolon.
    Open(&'a str, Open),
}

/// Why a statement without semicolon may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// Inside of a string, a quoted name, a comment or a bracket: more has to come.
    Inside,
    /// It could be all.
    Complete,
}

/// Cuts the first statement off.
pub(crate) fn first(text: &str) -> Split<'_> {
    let bytes = text.as_bytes();
    let (mut at, mut start, mut depth, mut inside) = (0, None, 0_usize, false);
    while at < bytes.len() {
        let rest = &text[at..];
        if rest.starts_with("--+") || rest.starts_with("/*+") {
            start.get_or_insert(at);
        }
        if let Some(length) = blank(rest) {
            match length {
                Some(length) => at += length,
                // A block comment without its end.
                None => {
                    (inside, at) = (true, bytes.len());
                    start = start.or(Some(bytes.len()));
                }
            }
            continue;
        }
        match bytes[at] {
            b';' => match start {
                Some(start) => return Split::Ended(text[start..at].trim_end(), &text[at + 1..]),
                None => at += 1,
            },
            quote @ (b'\'' | b'"' | b'`') => {
                start.get_or_insert(at);
                match quoted(rest, quote) {
                    Some(length) => at += length,
                    None => (inside, at) = (true, bytes.len()),
                }
            }
            other => {
                start.get_or_insert(at);
                match other {
                    b'(' | b'[' | b'{' => depth += 1,
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                // Past a whole character.
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
    }
    let open = if inside || depth > 0 { Open::Inside } else { Open::Complete };
    match start {
        Some(start) => Split::Open(text[start..].trim_end(), open),
        None => Split::Empty,
    }
}

/// Length of the white space or the comment that `rest` begins with; the inner `None` for a comment without end.
///
/// Comments with directives belong to the statement.
fn blank(rest: &str) -> Option<Option<usize>> {
    if rest.starts_with("--") {
        return Some(Some(rest.find('\n').map_or(rest.len(), |end| end + 1)));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        return Some(comment.find("*/").map(|end| end + 4));
    }
    let first = rest.chars().next().filter(|c| c.is_whitespace())?;
    Some(Some(first.len_utf8()))
}

/// Length of the quoted text that `rest` begins with, quotes included.
fn quoted(rest: &str, quote: u8) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            // In names a backslash is a character as any other; a doubled quote is read as two texts side by side.
            b'\\' if quote != b'`' => at += 2,
            b if b == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        loop {
            match first(text) {
                Split::Empty => return out,
                Split::Open(statement, _) => {
                    out.push(statement);
                    return out;
                }
                Split::Ended(statement, rest) => {
                    out.push(statement);
                    text = rest;
                }
            }
        }
    }

    #[test]
    fn semicolons_count_outside_of_quotes_and_comments_only() {
        assert_eq!(all("SELECT 1; SELECT 2 ;\n;; SELECT 3"), ["SELECT 1", "SELECT 2", "SELECT 3"]);
        assert_eq!(all("SELECT ';' ; SELECT \"a;\\\";\";"), ["SELECT ';'", "SELECT \"a;\\\";\""]);
        assert_eq!(all("SELECT `a;\\` ; x"), ["SELECT `a;\\`", "x"]);
        assert_eq!(all("SELECT 'it''s;' ; x"), ["SELECT 'it''s;'", "x"]);
        assert_eq!(all("SELECT 1 -- no; end\n + 2; x"), ["SELECT 1 -- no; end\n + 2", "x"]);
        assert_eq!(all("-- about\n/* ; */ SELECT 'é;' /* ; */; y"), ["SELECT 'é;' /* ; */", "y"]);
        assert_eq!(all("/* a */ /*+ {\"#x\": 1} */ SELECT 1;"), ["/*+ {\"#x\": 1} */ SELECT 1"]);
        assert_eq!(all(" \u{a0}\n-- nothing"), Vec::<&str>::new());
    }

    #[test]
    fn what_is_open_goes_on() {
        for inside in [
            "SELECT 'a",
            "SELECT (1",
            "SELECT [1, {'a': 2}",
            "SELECT 1 /* x",
            "/* x",
            "SELECT `a",
            "SELECT 'a\\",
        ] {
            assert!(matches!(first(inside), Split::Open(_, Open::Inside)), "{inside}");
        }
        for complete in
            ["SELECT 1", "SELECT (1)", "SELECT ')'", "SELECT 1 -- (", "SELECT 1)", "SELECT ö = = 漢"]
        {
            assert!(matches!(first(complete), Split::Open(_, Open::Complete)), "{complete}");
        }
    }
}
