//! The commands that begin with a backslash.

use ditto::types::json;
use ditto::types::{SmolStr, Value};

use super::print::Format;

/// One line that begins with a backslash, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Help,
    Quit,
    Format(Format),
    /// On, off, or the other one.
    Timing(Option<bool>),
    /// All collections, or one.
    Describe(Option<String>),
    Explain(String),
    Watch(String),
    /// Shows the placeholders' values.
    Params,
    Set(SmolStr, Value),
    Unset(SmolStr),
}

/// Commands with their arguments and what they do, for `\help` and completion.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("\\csv", "", "rows as CSV"),
    ("\\d", "[COLLECTION]", "collections and indexes; or the indexes and fields of one collection"),
    ("\\explain", "STATEMENT", "the plan of a statement, which is not run"),
    ("\\help", "", "this list"),
    ("\\json", "", "rows as JSON lines"),
    ("\\quit", "", "end, as Ctrl-D does"),
    (
        "\\set",
        "[NAME VALUE]",
        "value of the placeholder :NAME, as JSON, or as text if it is no JSON; alone: all values",
    ),
    ("\\table", "", "rows as a table"),
    ("\\timing", "[on|off]", "how long each statement takes"),
    ("\\unset", "NAME", "forget the value of :NAME"),
    ("\\watch", "SELECT", "the result, and again whenever it changes, until Ctrl-C"),
];

/// Reads a line. The error is a text for the user.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim();
    let (name, rest) =
        line.split_once(char::is_whitespace).map_or((line, ""), |(name, rest)| (name, rest.trim()));
    let alone = |command: Command| {
        if rest.is_empty() { Ok(command) } else { Err(format!("{name} takes no argument")) }
    };
    let statement = |make: fn(String) -> Command| {
        let text = rest.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
        if text.is_empty() { Err(format!("{name} needs a statement")) } else { Ok(make(text.to_owned())) }
    };
    match name {
        "\\?" | "\\h" | "\\help" => alone(Command::Help),
        "\\q" | "\\quit" | "\\exit" => alone(Command::Quit),
        "\\json" => alone(Command::Format(Format::Json)),
        "\\table" => alone(Command::Format(Format::Table)),
        "\\csv" => alone(Command::Format(Format::Csv)),
        "\\timing" => match rest {
            "" => Ok(Command::Timing(None)),
            "on" => Ok(Command::Timing(Some(true))),
            "off" => Ok(Command::Timing(Some(false))),
            other => Err(format!("\\timing takes on or off, not `{other}`")),
        },
        "\\d" => Ok(Command::Describe(
            (!rest.is_empty()).then(|| rest.trim_end_matches(';').trim_matches('`').to_owned()),
        )),
        "\\explain" => statement(Command::Explain),
        "\\watch" => statement(Command::Watch),
        "\\set" if rest.is_empty() => Ok(Command::Params),
        "\\set" => {
            let (name, value) =
                rest.split_once(char::is_whitespace).ok_or("\\set needs a name and a value")?;
            let value = value.trim();
            Ok(Command::Set(parameter(name)?, json::from_str(value).unwrap_or_else(|_| Value::from(value))))
        }
        "\\unset" if rest.is_empty() => Err("\\unset needs a name".to_owned()),
        "\\unset" => Ok(Command::Unset(parameter(rest)?)),
        other => Err(format!("unknown command `{}`; \\help lists them", super::fault::printable(other))),
    }
}

fn parameter(name: &str) -> Result<SmolStr, String> {
    let name = name.strip_prefix(':').unwrap_or(name);
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if valid {
        Ok(SmolStr::new(name))
    } else {
        Err(format!("`{}` is no name of a placeholder", name.escape_debug()))
    }
}

/// Text of `\help`.
pub(crate) fn help() -> String {
    let rows: Vec<Vec<String>> = COMMANDS
        .iter()
        .map(|(name, args, what)| vec![format!("{name} {args}"), (*what).to_owned()])
        .collect();
    let mut out = String::from(
        "A statement ends with `;`. On a terminal a line that is a whole statement runs without it.\n\
         Ctrl-C cancels what runs, Tab completes.\n\n",
    );
    out.push_str(&crate::output::table(&["COMMAND", ""], &rows));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_their_arguments() {
        assert_eq!(parse("\\json"), Ok(Command::Format(Format::Json)));
        assert_eq!(parse("  \\q "), Ok(Command::Quit));
        assert_eq!(parse("\\timing"), Ok(Command::Timing(None)));
        assert_eq!(parse("\\timing off"), Ok(Command::Timing(Some(false))));
        assert_eq!(parse("\\d"), Ok(Command::Describe(None)));
        assert_eq!(parse("\\d `a b`;"), Ok(Command::Describe(Some("a b".into()))));
        assert_eq!(parse("\\explain SELECT 1 ; "), Ok(Command::Explain("SELECT 1".into())));
        assert_eq!(parse("\\set :n 1.0"), Ok(Command::Set("n".into(), Value::Float(1.0))));
        assert_eq!(
            parse("\\set who Ada Lovelace"),
            Ok(Command::Set("who".into(), Value::from("Ada Lovelace")))
        );
        assert_eq!(parse("\\set"), Ok(Command::Params));
        for wrong in
            ["\\nope", "\\json x", "\\timing maybe", "\\watch ;", "\\set a", "\\set a-b 1", "\\unset", "\\"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_listed_command_is_known() {
        for (name, args, _) in COMMANDS {
            let line =
                if args.starts_with(char::is_uppercase) { format!("{name} x") } else { (*name).to_owned() };
            assert!(parse(&line).is_ok(), "{line}");
            assert!(help().contains(name));
        }
    }
}
