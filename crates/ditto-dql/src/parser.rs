//! Tokens into a statement: recursive descent, with precedence climbing for expressions.
//!
//! The parser knows the whole grammar of statements, so that what is valid but not carried out yet is refused by
//! name and not as a syntax error.

mod expr;
mod form;
mod read;
mod system;
mod words;
mod write;

use ditto_types::{ErrorKind, SmolStr};

use crate::ast::{Body, Directive, Name, Prefix, PrefixKind, Statement};
use crate::error::DqlError;
use crate::lexer::{Hint, Lexed, Span, Sym, Tok, Token, tokenize};

pub(crate) use words::calls_by_bare_name;

/// Deepest nesting of an expression: parentheses, operators, literals and calls inside each other.
///
/// Chains of AND, OR, XOR and `||` count as one level, however long.
pub const MAX_EXPRESSION_DEPTH: usize = 128;

/// Parses one statement; a trailing `;` is allowed.
pub(crate) fn parse(text: &str) -> Result<Statement, DqlError> {
    let Lexed { tokens, hints } = tokenize(text)?;
    let mut p = Parser { text, tokens, hints, directives: Vec::new(), at: 0, nesting: 0 };
    let statement = p.statement()?;
    if p.eat(Sym::Semicolon) && p.peek().tok != Tok::End {
        return p.fail("several statements in one text are not allowed");
    }
    if p.peek().tok != Tok::End {
        return p.expected("the end of the statement");
    }
    Ok(statement)
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// Directive comments, wherever they stand.
    hints: Vec<Hint>,
    /// Those that belong to the statement as a whole.
    directives: Vec<Directive>,
    at: usize,
    nesting: usize,
}

const END: &Token = &Token { tok: Tok::End, span: Span { start: u32::MAX, end: u32::MAX } };

impl<'t> Parser<'t> {
    fn statement(&mut self) -> Result<Statement, DqlError> {
        let prefix = self.prefix_words()?;
        self.statement_directives(0);
        let body = self.body()?;
        if let Some(prefix) = &prefix {
            self.check_prefix(prefix, &body)?;
        }
        Ok(Statement { prefix, directives: std::mem::take(&mut self.directives), body })
    }

    fn prefix_words(&mut self) -> Result<Option<Prefix>, DqlError> {
        let span = self.peek().span;
        let kind = if self.eat_word("PROFILE") {
            PrefixKind::Profile
        } else {
            let explain = self.eat_word("EXPLAIN");
            if self.eat_word("ADVISE") {
                let provision = self.eat_word("AND");
                if provision {
                    self.expect_word("PROVISION")?;
                }
                PrefixKind::Advise { provision, explain }
            } else if explain {
                PrefixKind::Explain
            } else {
                return Ok(None);
            }
        };
        Ok(Some(Prefix { kind, span }))
    }

    /// Refuses a prefix before a statement it does not go with.
    fn check_prefix(&self, prefix: &Prefix, body: &Body) -> Result<(), DqlError> {
        let (word, fits) = match (prefix.kind, body) {
            (PrefixKind::Advise { .. }, _) => return Ok(()),
            (PrefixKind::Explain, body) => ("EXPLAIN", !matches!(body, Body::AlterSystem(_) | Body::Show(_))),
            (PrefixKind::Profile, body) => (
                "PROFILE",
                matches!(body, Body::Select(_) | Body::Insert(_) | Body::Update(_) | Body::Remove(_)),
            ),
        };
        if fits {
            return Ok(());
        }
        let statement = match body {
            Body::Select(_) => "SELECT",
            Body::Insert(_) => "INSERT",
            Body::Update(_) => "UPDATE",
            Body::Remove(r) if r.evict => "EVICT",
            Body::Remove(_) => "DELETE",
            Body::CreateIndex(_) => "CREATE INDEX",
            Body::DropIndex(_) => "DROP INDEX",
            Body::AlterSystem(_) => "ALTER SYSTEM",
            Body::Show(_) => "SHOW",
        };
        self.fail_at(ErrorKind::QueryInvalid, format!("{word} does not apply to {statement}"), prefix.span)
    }

    fn body(&mut self) -> Result<Body, DqlError> {
        let span = self.peek().span;
        Ok(match self.peek_word().map(str::to_ascii_uppercase).as_deref() {
            Some("SELECT") => Body::Select(Box::new(self.select()?)),
            Some("INSERT") => Body::Insert(Box::new(self.insert()?)),
            Some("UPDATE") => Body::Update(Box::new(self.update()?)),
            // TOMBSTONE FROM is how servers spelled DELETE FROM before they had it.
            Some("DELETE" | "TOMBSTONE") => Body::Remove(Box::new(self.remove(false)?)),
            Some("EVICT") => Body::Remove(Box::new(self.remove(true)?)),
            Some("CREATE") => Body::CreateIndex(self.create_index()?),
            Some("DROP") => Body::DropIndex(self.drop_index()?),
            Some("ALTER") => Body::AlterSystem(self.alter_system()?),
            Some("SHOW") => Body::Show(self.show()?),
            Some("SYNC") => return self.unsupported("SYNC CONTEXT, which only a server carries out", span),
            Some("WITH") => return self.unsupported("WITH", span),
            Some(word @ ("EXPLAIN" | "PROFILE" | "ADVISE")) => {
                return self.fail(format!("{word} cannot follow another EXPLAIN, PROFILE or ADVISE"));
            }
            _ => return self.expected("a statement"),
        })
    }

    /// Adds the directive comments between the token `from` and the current one to those of the statement.
    fn statement_directives(&mut self, from: usize) {
        let found = self.directives_from(from);
        self.directives.extend(found);
    }

    /// The directive comments between the token `from` and the current one.
    fn directives_from(&self, from: usize) -> Vec<Directive> {
        let first = self.hints.partition_point(|h| h.before < from);
        let hints = self.hints.iter().skip(first).take_while(|h| h.before <= self.at);
        hints.map(|h| Directive { json: SmolStr::new(h.content.text(self.text)), span: h.content }).collect()
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(END)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.at + ahead).unwrap_or(END)
    }

    /// The span of the token before the current one.
    fn last_span(&self) -> Span {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(Span::default(), |t| t.span)
    }

    fn advance(&mut self) -> Span {
        let span = self.peek().span;
        // `End` stays, so that looking beyond it is never needed.
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        span
    }

    fn is_sym(&self, sym: Sym) -> bool {
        self.peek().tok == Tok::Sym(sym)
    }

    fn eat(&mut self, sym: Sym) -> bool {
        let yes = self.is_sym(sym);
        if yes {
            self.advance();
        }
        yes
    }

    fn expect(&mut self, sym: Sym) -> Result<Span, DqlError> {
        if self.is_sym(sym) { Ok(self.advance()) } else { self.expected(&format!("'{}'", sym.text())) }
    }

    fn word_at(&self, ahead: usize) -> Option<&'t str> {
        let t = self.peek_at(ahead);
        (t.tok == Tok::Word).then(|| t.span.text(self.text))
    }

    fn peek_word(&self) -> Option<&'t str> {
        self.word_at(0)
    }

    fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        self.word_at(ahead).is_some_and(|w| w.eq_ignore_ascii_case(word))
    }

    fn is_word(&self, word: &str) -> bool {
        self.is_word_at(0, word)
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let yes = self.is_word(word);
        if yes {
            self.advance();
        }
        yes
    }

    fn expect_word(&mut self, word: &str) -> Result<Span, DqlError> {
        if self.is_word(word) { Ok(self.advance()) } else { self.expected(word) }
    }

    /// A name where only a name can stand, so that no more than the reserved words are refused.
    fn name(&mut self) -> Result<Name, DqlError> {
        match &self.peek().tok {
            Tok::Word if self.peek_word().is_some_and(|w| !words::is_reserved(w)) => Ok(self.bare_name()),
            Tok::Quoted(text) => {
                let text = text.clone();
                Ok(Name { text, span: self.advance() })
            }
            _ => self.expected("identifier"),
        }
    }

    /// A name after a dot or a colon, where no word is ambiguous.
    fn any_name(&mut self) -> Result<Name, DqlError> {
        if self.peek().tok == Tok::Word { Ok(self.bare_name()) } else { self.name() }
    }

    fn bare_name(&mut self) -> Name {
        let span = self.advance();
        Name { text: SmolStr::new(span.text(self.text)), span }
    }

    /// A dotted path.
    fn path(&mut self) -> Result<Vec<Name>, DqlError> {
        let mut path = vec![self.name()?];
        while self.eat(Sym::Dot) {
            path.push(self.any_name()?);
            self.check_path_length(&path)?;
        }
        Ok(path)
    }

    fn check_path_length(&self, path: &[Name]) -> Result<(), DqlError> {
        // The qualifier may come on top of what a document can nest.
        if path.len() > ditto_types::MAX_DEPTH + 1 {
            let span = self.last_span();
            return self.fail_at(
                ErrorKind::DepthLimitExceeded,
                format!("path of more than {} names", ditto_types::MAX_DEPTH),
                span,
            );
        }
        Ok(())
    }

    /// Fails with "expected X, found Y" at the current token.
    fn expected<T>(&self, what: &str) -> Result<T, DqlError> {
        self.fail(format!("expected {what}, found {}", self.found()))
    }

    fn found(&self) -> String {
        let t = self.peek();
        let text = t.span.text(self.text);
        let mut shown: String = text.chars().take(40).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        match &t.tok {
            Tok::End => "the end of the statement".to_owned(),
            Tok::Word if words::is_reserved(text) => format!("reserved word {}", text.to_ascii_uppercase()),
            Tok::Word | Tok::Quoted(_) => shown,
            Tok::Str(_) => format!("string {shown}"),
            Tok::Int(_) | Tok::Float(_) => format!("number {shown}"),
            Tok::Sym(_) => format!("'{shown}'"),
        }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, DqlError> {
        self.fail_at(ErrorKind::QueryInvalid, message, self.peek().span)
    }

    fn fail_at<T>(&self, kind: ErrorKind, message: impl Into<String>, span: Span) -> Result<T, DqlError> {
        Err(DqlError::at(kind, message, self.text, span.start as usize))
    }

    fn unsupported<T>(&self, construct: &str, span: Span) -> Result<T, DqlError> {
        Err(DqlError::unsupported(construct, self.text, span))
    }
}
