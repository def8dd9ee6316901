//! Which words are keywords where. Only what would be ambiguous is reserved.

/// Words that are never a name unless in backticks or after a dot. Sorted.
const RESERVED: &[&str] = &[
    "ALL",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXISTS",
    "FALSE",
    "FROM",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "LIKE",
    "LIMIT",
    "MISSING",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "RETURNING",
    "SELECT",
    "SIMILAR",
    "THEN",
    "TRUE",
    "UNION",
    "WHEN",
    "WHERE",
    "XOR",
];

/// Words that, besides the reserved ones, cannot be an alias without AS, because a clause may begin there. Sorted.
const NO_ALIAS: &[&str] = &[
    "APPLY", "CROSS", "FETCH", "FULL", "INNER", "LATERAL", "LEFT", "NATURAL", "OUTER", "RIGHT", "SET",
    "UNSET", "USE", "USING", "WINDOW",
];

/// Words that, before a parenthesis, need not be the name of a function. Sorted.
const FORMS: &[&str] = &["ANY", "ARRAY", "CASE", "CAST", "EVERY", "EXTRACT", "OBJECT", "POSITION", "TRIM"];

fn contains(list: &[&str], word: &str) -> bool {
    list.binary_search_by(|w| w.bytes().cmp(word.bytes().map(|b| b.to_ascii_uppercase()))).is_ok()
}

pub(super) fn is_reserved(word: &str) -> bool {
    contains(RESERVED, word)
}

/// Whether a bare word after an expression or a collection can be its alias.
pub(super) fn may_be_alias(word: &str) -> bool {
    !contains(RESERVED, word) && !contains(NO_ALIAS, word)
}

/// Whether a function of this name can be called without backticks.
pub(crate) fn calls_by_bare_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !contains(RESERVED, name)
        && !contains(FORMS, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted());
        assert!(NO_ALIAS.is_sorted());
        assert!(FORMS.is_sorted());
        assert!(is_reserved("select") && is_reserved("XOR") && is_reserved("aLL"));
        assert!(!is_reserved("date") && !is_reserved("id") && !is_reserved("value"));
        assert!(!may_be_alias("left") && !may_be_alias("from") && may_be_alias("c"));
    }
}
