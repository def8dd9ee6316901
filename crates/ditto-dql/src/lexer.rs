//! Text into tokens. Words are not classified here: whether a word is a keyword depends on where it stands.

use ditto_types::{ErrorKind, SmolStr};

use crate::error::DqlError;

/// Longest accepted statement, in bytes.
pub const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// A piece of a statement, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Places do not take part when syntax trees are compared: the same statement may be written in many ways.
impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Span {
    pub(crate) fn to(self, end: Span) -> Span {
        Span { start: self.start, end: end.end }
    }

    pub(crate) fn text(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    /// A bare word: keyword or identifier.
    Word,
    /// An identifier in backticks.
    Quoted(SmolStr),
    Str(SmolStr),
    Int(u64),
    Float(f64),
    Sym(Sym),
    /// The end of the text.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sym {
    LParen,
    RParen,
    LBracket,
    RBracket,
    LBrace,
    RBrace,
    Comma,
    Dot,
    Colon,
    Semicolon,
    Star,
    Slash,
    Percent,
    Plus,
    Minus,
    Concat,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Shl,
    Shr,
    Arrow,
}

impl Sym {
    pub(crate) fn text(self) -> &'static str {
        SYMBOLS.iter().rfind(|(_, s)| *s == self).map_or("", |(t, _)| t)
    }
}

/// Longer symbols come first. Of two spellings the last is the one that messages show.
const SYMBOLS: &[(&str, Sym)] = &[
    ("->", Sym::Arrow),
    ("||", Sym::Concat),
    ("<<", Sym::Shl),
    (">>", Sym::Shr),
    ("<=", Sym::Le),
    (">=", Sym::Ge),
    ("<>", Sym::Ne),
    ("!=", Sym::Ne),
    ("==", Sym::Eq),
    ("=", Sym::Eq),
    ("<", Sym::Lt),
    (">", Sym::Gt),
    ("(", Sym::LParen),
    (")", Sym::RParen),
    ("[", Sym::LBracket),
    ("]", Sym::RBracket),
    ("{", Sym::LBrace),
    ("}", Sym::RBrace),
    (",", Sym::Comma),
    (".", Sym::Dot),
    (":", Sym::Colon),
    (";", Sym::Semicolon),
    ("*", Sym::Star),
    ("/", Sym::Slash),
    ("%", Sym::Percent),
    ("+", Sym::Plus),
    ("-", Sym::Minus),
];

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) span: Span,
}

/// A directive comment.
#[derive(Clone, Debug)]
pub(crate) struct Hint {
    /// The number of tokens before it.
    pub(crate) before: usize,
    /// What stands after the `+`, without blanks around it.
    pub(crate) content: Span,
}

/// The tokens of a statement; the last one is [`Tok::End`].
#[derive(Debug)]
pub(crate) struct Lexed {
    pub(crate) tokens: Vec<Token>,
    /// Directive comments in their order.
    pub(crate) hints: Vec<Hint>,
}

/// Splits a statement into tokens.
pub(crate) fn tokenize(text: &str) -> Result<Lexed, DqlError> {
    if text.len() > MAX_STATEMENT_BYTES {
        return Err(DqlError::new(
            ErrorKind::SizeLimitExceeded,
            format!("statement of {} bytes exceeds the limit of {MAX_STATEMENT_BYTES} bytes", text.len()),
        ));
    }
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    let mut hints = Vec::new();
    loop {
        while let Some(content) = lexer.skip_blank()? {
            hints.push(Hint { before: tokens.len(), content });
        }
        let start = lexer.at;
        let tok = lexer.token()?;
        let end = tok == Tok::End;
        tokens.push(Token { tok, span: Span { start: start as u32, end: lexer.at as u32 } });
        if end {
            return Ok(Lexed { tokens, hints });
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn fail<T>(&self, message: impl Into<String>, offset: usize) -> Result<T, DqlError> {
        Err(DqlError::at(ErrorKind::QueryInvalid, message, self.text, offset))
    }

    /// Skips white space and comments up to the next token, or to the end of a directive comment, whose content it returns.
    fn skip_blank(&mut self) -> Result<Option<Span>, DqlError> {
        loop {
            let (start, rest) = (self.at, self.rest());
            if rest.starts_with("--") {
                self.at += rest.find('\n').unwrap_or(rest.len());
                if rest.starts_with("--+") {
                    return Ok(Some(self.trimmed(start + 3, self.at)));
                }
            } else if rest.starts_with("/*") {
                // The opening mark is no closing one: `/*/` is open.
                let Some(n) = rest.get(2..).and_then(|r| r.find("*/")) else {
                    return self.fail("unterminated comment", self.at);
                };
                self.at += n + 4;
                if rest.starts_with("/*+") {
                    return Ok(Some(self.trimmed(start + 3, self.at - 2)));
                }
            } else if let Some(c) = rest.chars().next().filter(|c| c.is_whitespace()) {
                self.at += c.len_utf8();
            } else {
                return Ok(None);
            }
        }
    }

    /// A piece of the text without the blanks around it.
    fn trimmed(&self, start: usize, end: usize) -> Span {
        let piece = self.text.get(start..end).unwrap_or_default();
        let lead = piece.len() - piece.trim_start().len();
        Span { start: (start + lead) as u32, end: (start + lead + piece.trim().len()) as u32 }
    }

    fn token(&mut self) -> Result<Tok, DqlError> {
        let start = self.at;
        let Some(c) = self.peek() else { return Ok(Tok::End) };
        match c {
            'A'..='Z' | 'a'..='z' | '_' => {
                let rest = self.rest();
                self.at += rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                Ok(Tok::Word)
            }
            '0'..='9' => self.number(),
            '\'' | '"' => self.string(c),
            '`' => self.quoted_name(),
            _ => {
                let rest = self.rest();
                match SYMBOLS.iter().find(|(t, _)| rest.starts_with(t)) {
                    Some((t, s)) => {
                        self.at += t.len();
                        Ok(Tok::Sym(*s))
                    }
                    None => self.fail(format!("unexpected character {c:?}"), start),
                }
            }
        }
    }

    fn digits(&mut self) {
        let rest = self.rest();
        self.at += rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    }

    fn number(&mut self) -> Result<Tok, DqlError> {
        let start = self.at;
        let rest = self.rest();
        let tok = if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let n = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            self.at += 2 + n;
            u64::from_str_radix(hex.get(..n).unwrap_or_default(), 16).ok().map(Tok::Int)
        } else {
            let mut float = false;
            self.digits();
            let after_dot = self.rest().strip_prefix('.').and_then(|r| r.chars().next());
            if after_dot.is_some_and(|c| c.is_ascii_digit()) {
                float = true;
                self.at += 1;
                self.digits();
            }
            if let Some(exp) = self.rest().strip_prefix(['e', 'E']) {
                let unsigned = exp.strip_prefix(['+', '-']).unwrap_or(exp);
                if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
                    float = true;
                    self.at += 1 + (exp.len() - unsigned.len());
                    self.digits();
                }
            }
            let text = self.text.get(start..self.at).unwrap_or_default();
            if float {
                text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Tok::Float)
            } else {
                text.parse::<u64>().ok().map(Tok::Int)
            }
        };
        if self.peek().is_some_and(|c| is_word(c) || c == '$') {
            let rest = self.rest();
            self.at += rest.find(|c: char| !is_word(c) && c != '$').unwrap_or(rest.len());
            let text = self.text.get(start..self.at).unwrap_or_default();
            return self.fail(format!("malformed number {text}; a name like this needs backticks"), start);
        }
        match tok {
            Some(tok) => Ok(tok),
            None => {
                let text = self.text.get(start..self.at).unwrap_or_default();
                self.fail(format!("number {text} is out of range"), start)
            }
        }
    }

    fn quoted_name(&mut self) -> Result<Tok, DqlError> {
        let start = self.at;
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.bump() {
                None => return self.fail("unterminated quoted identifier", start),
                Some('`') if self.peek() == Some('`') => {
                    self.at += 1;
                    name.push('`');
                }
                Some('`') if name.is_empty() => return self.fail("empty identifier", start),
                Some('`') => return Ok(Tok::Quoted(name.into())),
                Some(c) => name.push(c),
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<Tok, DqlError> {
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let at = self.at;
            match self.bump() {
                Some(c) if c == quote => return Ok(Tok::Str(out.into())),
                Some('\\') => match self.bump() {
                    Some('b') => out.push('\u{8}'),
                    Some('f') => out.push('\u{c}'),
                    Some('n') => out.push('\n'),
                    Some('r') => out.push('\r'),
                    Some('t') => out.push('\t'),
                    Some('u') => out.push(self.unicode_escape(at)?),
                    // Quotes, slashes and unknown escapes: the character itself.
                    Some(c) => out.push(c),
                    None => return self.fail("unterminated string", start),
                },
                Some(c) => out.push(c),
                None => return self.fail("unterminated string", start),
            }
        }
    }

    /// The character of `\uXXXX`, also of a surrogate pair; `start` is where the backslash stands.
    fn unicode_escape(&mut self, start: usize) -> Result<char, DqlError> {
        let high = self.four_hex(start)?;
        let code = if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
            self.at += 2;
            let low = self.four_hex(start)?;
            if !(0xdc00..0xe000).contains(&low) {
                return self.fail("unpaired surrogate in a string escape", start);
            }
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail("unpaired surrogate in a string escape", start),
        }
    }

    fn four_hex(&mut self, start: usize) -> Result<u32, DqlError> {
        let hex = self.rest().get(..4).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|h| u32::from_str_radix(h, 16).ok()) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => self.fail("\\u in a string needs four hexadecimal digits", start),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toks(text: &str) -> Vec<Tok> {
        let mut t: Vec<Tok> = tokenize(text).unwrap().tokens.into_iter().map(|t| t.tok).collect();
        assert_eq!(t.pop(), Some(Tok::End));
        t
    }

    fn str_of(text: &str) -> String {
        match toks(text).as_slice() {
            [Tok::Str(s)] => s.to_string(),
            t => panic!("{t:?}"),
        }
    }

    #[test]
    fn words_names_and_symbols() {
        assert_eq!(toks("abc_4u _abc abc123"), [Tok::Word, Tok::Word, Tok::Word]);
        assert_eq!(
            toks("`1abc` `ab$c` `αΑ Δ ωΩ` `a ``b`` c`"),
            ["1abc", "ab$c", "αΑ Δ ωΩ", "a `b` c"].map(|n| Tok::Quoted(n.into()))
        );
        use Sym::*;
        let syms = "( ) [ ] { } , . : ; * / % + - || = == != <> < <= > >= << >> ->";
        let want = [
            LParen, RParen, LBracket, RBracket, LBrace, RBrace, Comma, Dot, Colon, Semicolon, Star, Slash,
            Percent, Plus, Minus, Concat, Eq, Eq, Ne, Ne, Lt, Le, Gt, Ge, Shl, Shr, Arrow,
        ];
        assert_eq!(toks(syms), want.map(Tok::Sym));
    }

    #[test]
    fn numbers() {
        assert_eq!(
            toks("42 0 0xFF 2.5 1e3 1E-2 18446744073709551615"),
            [
                Tok::Int(42),
                Tok::Int(0),
                Tok::Int(255),
                Tok::Float(2.5),
                Tok::Float(1000.0),
                Tok::Float(0.01),
                Tok::Int(u64::MAX)
            ]
        );
        // A dot without a digit after it belongs to a path.
        assert_eq!(toks("1 . a"), [Tok::Int(1), Tok::Sym(Sym::Dot), Tok::Word]);
    }

    #[test]
    fn strings_have_json_escapes() {
        assert_eq!(str_of(r#"'a"b'"#), "a\"b");
        assert_eq!(str_of(r#""it's""#), "it's");
        assert_eq!(str_of(r#"'\' \" \\ \/ \b\f\n\r\t \q'"#), "' \" \\ / \u{8}\u{c}\n\r\t q");
        assert_eq!(str_of(r"'\u00e9\ud83d\ude00'"), "é😀");
        assert_eq!(str_of("'日本\n語'"), "日本\n語");
        // Doubling a quote is no escape: these are two strings.
        assert_eq!(toks("'it''s'").len(), 2);
    }

    #[test]
    fn comments_are_blank() {
        assert_eq!(
            toks("a -- b\nc /* d\n */ e /*+ {\"#x\":1} */ --+ {}\n/**/ f /*/ x */"),
            vec![Tok::Word; 4]
        );
        assert_eq!(toks("a--b"), [Tok::Word]);
    }

    #[test]
    fn directive_comments_are_kept_with_their_place() {
        let text = "/*+ {\"a\":1} */ --+  {}  \nx /*/ + */ /*+*/ y --+z";
        let lexed = tokenize(text).unwrap();
        let hints: Vec<_> = lexed.hints.iter().map(|h| (h.before, h.content.text(text))).collect();
        assert_eq!(hints, [(0, "{\"a\":1}"), (0, "{}"), (1, ""), (2, "z")]);
        assert_eq!(lexed.tokens.len(), 3);
    }

    #[test]
    fn faults_name_their_place() {
        let cases = [
            ("a\n 'bc", "unterminated string", 2, 2),
            ("a `bc", "unterminated quoted identifier", 1, 3),
            ("a ``", "empty identifier", 1, 3),
            ("a /* b", "unterminated comment", 1, 3),
            ("a /*/", "unterminated comment", 1, 3),
            ("a # b", "unexpected character '#'", 1, 3),
            ("'é' 1abc", "malformed number 1abc; a name like this needs backticks", 1, 5),
            ("ab$c", "unexpected character '$'", 1, 3),
            ("18446744073709551616", "number 18446744073709551616 is out of range", 1, 1),
            ("1e999", "number 1e999 is out of range", 1, 1),
            ("0x", "number 0x is out of range", 1, 1),
            (r"'a\u12'", "\\u in a string needs four hexadecimal digits", 1, 3),
            (r"'\ud800'", "unpaired surrogate in a string escape", 1, 2),
            (r"'\ud800\u0041'", "unpaired surrogate in a string escape", 1, 2),
        ];
        for (text, message, line, column) in cases {
            let e = tokenize(text).unwrap_err();
            let p = e.position().unwrap();
            assert_eq!((e.message(), p.line, p.column), (message, line, column), "{text}");
            assert_eq!(e.kind(), ErrorKind::QueryInvalid);
        }
    }

    #[test]
    fn the_length_is_limited() {
        let text = " ".repeat(MAX_STATEMENT_BYTES + 1);
        assert_eq!(tokenize(&text).unwrap_err().kind(), ErrorKind::SizeLimitExceeded);
        assert!(tokenize(&text[1..]).is_ok());
    }
}
