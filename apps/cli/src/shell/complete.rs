//! What can be written at the cursor.

use std::collections::BTreeSet;

use super::command::COMMANDS;
use super::words::{FUNCTIONS, KEYWORDS, SYSTEM_COLLECTIONS};

/// What completion has to know of the database.
pub(crate) trait Names {
    fn collections(&self) -> Vec<String>;
    /// Top-level fields of some documents of a collection.
    fn fields(&self, collection: &str) -> Vec<String>;
    fn settings(&self) -> Vec<String>;
    fn indexes(&self) -> Vec<String>;
    fn parameters(&self) -> Vec<String>;
}

/// Most alternatives that are offered.
const MOST: usize = 200;

/// Where the word at the cursor begins, and what could stand there.
pub(crate) fn complete(text: &str, cursor: usize, names: &dyn Names) -> (usize, Vec<String>) {
    let before = &text[..cursor];
    if let Some(argument) = before.strip_prefix('\\') {
        match argument.split_once(char::is_whitespace) {
            None => return (0, commands(before)),
            Some(("d", _)) => {
                let start = start_of_word(before);
                return (start, matching(&before[start..], names.collections().iter().map(|c| quoted(c))));
            }
            // Statements follow.
            Some(_) => {}
        }
    }
    let start = start_of_word(before);
    let word = &before[start..];
    let place = Place::of(&before[..start], word);
    let found = match place {
        Place::Parameter => matching(word, names.parameters().iter().map(|p| format!(":{p}"))),
        Place::Collection => {
            let system = SYSTEM_COLLECTIONS.iter().map(|c| (*c).to_owned());
            matching(word, names.collections().iter().map(|c| quoted(c)).chain(system))
        }
        Place::Setting => matching(word, names.settings().into_iter().chain(["ALL".to_owned()])),
        Place::Index => matching(word, names.indexes().iter().map(|i| quoted(i))),
        Place::Other => {
            let collections = mentioned(text);
            let fields: BTreeSet<String> =
                collections.iter().flat_map(|c| names.fields(c)).map(|f| quoted(&f)).collect();
            let (prefix, last) = word.rsplit_once('.').map_or(("", word), |(prefix, last)| (prefix, last));
            if prefix.is_empty() {
                let lower = word.chars().next().is_some_and(|c| c.is_lowercase());
                let keyword = |k: &&str| if lower { k.to_lowercase() } else { (*k).to_owned() };
                let words = KEYWORDS.iter().map(keyword).chain(FUNCTIONS.iter().map(|f| (*f).to_owned()));
                matching(word, fields.into_iter().chain(words))
            } else {
                let qualified = matching(last, fields.into_iter());
                qualified.into_iter().map(|field| format!("{prefix}.{field}")).collect()
            }
        }
    };
    (start, found)
}

/// What the words before the cursor ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Parameter,
    Collection,
    Setting,
    Index,
    Other,
}

impl Place {
    fn of(before: &str, word: &str) -> Self {
        if word.starts_with(':') {
            return Self::Parameter;
        }
        let words: Vec<String> = before.split_whitespace().rev().take(3).map(str::to_uppercase).collect();
        let word = |i: usize| words.get(i).map_or("", String::as_str);
        match (word(0), word(1), word(2)) {
            ("SHOW", ..) | ("SET" | "RESET", "SYSTEM", "ALTER") => Self::Setting,
            ("INDEX", "DROP" | "USE", _) | ("EXISTS", "IF", "INDEX") => Self::Index,
            ("FROM" | "INTO" | "JOIN" | "UPDATE" | "COLLECTION", ..) => Self::Collection,
            // That of an index; the ON of a join is followed by a condition.
            ("ON", _, "INDEX" | "EXISTS") => Self::Collection,
            _ => Self::Other,
        }
    }
}

/// Byte offset of the word that ends the text.
fn start_of_word(before: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '`' | '$');
    before.char_indices().rev().take_while(|(_, c)| part(*c)).last().map_or(before.len(), |(at, _)| at)
}

/// The collections that the text names after FROM and its like.
fn mentioned(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut words = text
        .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';'))
        .filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        if ["FROM", "INTO", "JOIN", "UPDATE", "COLLECTION"].contains(&word.to_uppercase().as_str())
            && let Some(name) = words.next()
        {
            found.insert(name.trim_matches('`').to_owned());
        }
    }
    found
}

fn matching(word: &str, candidates: impl Iterator<Item = String>) -> Vec<String> {
    let bare = |s: &str| s.trim_start_matches('`').to_lowercase();
    let wanted = bare(word);
    let found: BTreeSet<String> = candidates.filter(|c| bare(c).starts_with(&wanted)).collect();
    found.into_iter().take(MOST).collect()
}

fn commands(before: &str) -> Vec<String> {
    COMMANDS.iter().map(|(name, ..)| (*name).to_owned()).filter(|name| name.starts_with(before)).collect()
}

/// A name as a statement has it: in backticks unless it is plain.
fn quoted(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(name));
    if plain { name.to_owned() } else { format!("`{}`", name.replace('`', "``")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Names for Fixed {
        fn collections(&self) -> Vec<String> {
            vec!["cars".into(), "my cars".into(), "orders".into()]
        }
        fn fields(&self, collection: &str) -> Vec<String> {
            match collection {
                "cars" => vec!["_id".into(), "color".into(), "comment text".into(), "from".into()],
                "orders" => vec!["total".into()],
                other => panic!("asked for {other}"),
            }
        }
        fn settings(&self) -> Vec<String> {
            vec!["dql_strict_mode".into(), "dql_request_history_size".into()]
        }
        fn indexes(&self) -> Vec<String> {
            vec!["by_color".into()]
        }
        fn parameters(&self) -> Vec<String> {
            vec!["color".into(), "n".into()]
        }
    }

    /// Completes at the `|`.
    fn at(text: &str) -> Vec<String> {
        let cursor = text.find('|').unwrap();
        let (start, found) = complete(&text.replace('|', ""), cursor, &Fixed);
        assert!(start <= cursor);
        found
    }

    #[test]
    fn collections_where_one_is_due() {
        assert_eq!(at("SELECT * FROM ca|"), ["cars"]);
        assert_eq!(at("select * from m|"), ["`my cars`"]);
        assert_eq!(at("select * from `m|"), ["`my cars`"]);
        assert_eq!(at("INSERT INTO o|"), ["orders"]);
        assert_eq!(at("UPDATE c|"), ["cars"]);
        assert_eq!(at("SELECT * FROM cars JOIN or|"), ["orders"]);
        assert_eq!(at("CREATE INDEX i ON ca|"), ["cars"]);
        assert_eq!(at("SELECT * FROM system:ind|"), ["system:indexes"]);
        assert_eq!(at("\\d ca|"), ["cars"]);
    }

    #[test]
    fn fields_of_the_collections_that_are_named() {
        assert_eq!(at("SELECT col| FROM cars"), ["collection", "color"]);
        assert_eq!(at("SELECT * FROM cars WHERE cars.c|"), ["cars.`comment text`", "cars.color"]);
        assert_eq!(at("SELECT * FROM cars WHERE `fr|"), ["FROM", "`from`"]);
        assert_eq!(at("SELECT * FROM cars JOIN orders ON to|"), ["to", "tombstone", "total"]);
        assert_eq!(at("\\watch SELECT * FROM orders WHERE tot|"), ["total"]);
    }

    #[test]
    fn words_follow_the_case_that_is_typed() {
        assert_eq!(at("sel|"), ["select"]);
        assert_eq!(at("SEL|"), ["SELECT"]);
        assert_eq!(at("SELECT coale|"), ["coalesce("]);
        assert_eq!(at("\\ti|"), ["\\timing"]);
    }

    #[test]
    fn settings_indexes_and_parameters() {
        assert_eq!(at("ALTER SYSTEM SET dql_s|"), ["dql_strict_mode"]);
        assert_eq!(at("SHOW DQL_R|"), ["dql_request_history_size"]);
        assert_eq!(at("DROP INDEX b|"), ["by_color"]);
        assert_eq!(at("SELECT * FROM cars USE INDEX b|"), ["by_color"]);
        assert_eq!(at("SELECT :c|"), [":color"]);
    }

    #[test]
    fn any_cursor_is_safe() {
        let text = "SELECT 'é漢' || `ö. FROM cars WHERE :n";
        for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
            complete(text, at, &Fixed);
        }
    }
}
