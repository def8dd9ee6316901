//! Expressions with keywords of their own: CASE, CAST, POSITION, TRIM, quantifiers and transforms.

use ditto_types::SmolStr;

use super::expr::power;
use super::{Parser, words};
use crate::ast::{
    Binder, CallArgs, CaseExpr, Expr, ExprKind, Name, QuantifiedExpr, Quantifier, TransformExpr,
};
use crate::error::DqlError;
use crate::lexer::{Span, Sym, Tok};

impl Parser<'_> {
    /// Whether the word at the current token is followed by what only its special form can be followed by.
    pub(super) fn begins_form(&self) -> bool {
        // `SELECT array name FROM …` is a field and its alias.
        let alias = self.is_word_at(2, "FROM") || self.peek_at(2).tok == Tok::Sym(Sym::Comma);
        self.begins_operand(1) && !(alias && self.peek_at(1).tok == Tok::Word)
    }

    /// Whether the token `ahead` begins an operand and cannot continue an expression.
    fn begins_operand(&self, ahead: usize) -> bool {
        match &self.peek_at(ahead).tok {
            Tok::Word => {
                let word = self.word_at(ahead).unwrap_or_default();
                let literal = ["NOT", "CASE", "TRUE", "FALSE", "NULL", "MISSING"];
                let every = word.eq_ignore_ascii_case("AND") && self.is_word_at(ahead + 1, "EVERY");
                every || !words::is_reserved(word) || literal.iter().any(|l| word.eq_ignore_ascii_case(l))
            }
            Tok::Quoted(_) | Tok::Str(_) | Tok::Int(_) | Tok::Float(_) => true,
            Tok::Sym(s) => matches!(s, Sym::LBracket | Sym::LBrace | Sym::Colon | Sym::LParen),
            Tok::End => false,
        }
    }

    pub(super) fn case(&mut self) -> Result<Expr, DqlError> {
        let start = self.advance();
        let mut height = 0;
        let operand = if self.is_word("WHEN") {
            None
        } else {
            let e = self.expr()?;
            height = e.height;
            Some(e)
        };
        let mut branches = Vec::new();
        while self.eat_word("WHEN") {
            let when = self.expr()?;
            self.expect_word("THEN")?;
            let then = self.expr()?;
            height = height.max(when.height).max(then.height);
            branches.push((when, then));
        }
        if branches.is_empty() {
            return self.expected("WHEN");
        }
        let otherwise = if self.eat_word("ELSE") {
            let e = self.expr()?;
            height = height.max(e.height);
            Some(e)
        } else {
            None
        };
        if !self.is_word("END") {
            return self.expected(if otherwise.is_some() { "END" } else { "WHEN, ELSE or END" });
        }
        let span = start.to(self.advance());
        let case = CaseExpr { operand, branches, otherwise };
        self.node(ExprKind::Case(Box::new(case)), span, height)
    }

    /// `CAST(x AS type)` or `CAST(x, 'type')`.
    pub(super) fn cast(&mut self) -> Result<Expr, DqlError> {
        let start = self.advance();
        self.advance();
        let value = self.expr()?;
        let type_name = if self.eat_word("AS") {
            self.any_name()?
        } else if self.eat(Sym::Comma) {
            match &self.peek().tok {
                Tok::Str(s) => {
                    let text = s.clone();
                    Name { text, span: self.advance() }
                }
                _ => return self.expected("a type name in quotes"),
            }
        } else {
            return self.expected("AS or ','");
        };
        let span = start.to(self.expect(Sym::RParen)?);
        let height = value.height;
        self.node(ExprKind::Cast { value: Box::new(value), type_name }, span, height)
    }

    /// `POSITION(sub IN s)`, which is `pos(s, sub)`.
    pub(super) fn position(&mut self) -> Result<Expr, DqlError> {
        let start = self.advance();
        self.advance();
        let sub = self.expr_above(power::COMPARE + 1)?;
        self.expect_word("IN")?;
        let text = self.expr()?;
        let span = start.to(self.expect(Sym::RParen)?);
        self.known_call("pos", start, vec![text, sub], span)
    }

    /// `TRIM([BOTH | LEADING | TRAILING] [chars] FROM s)`, or the plain function.
    pub(super) fn trim(&mut self) -> Result<Expr, DqlError> {
        let start = self.advance();
        self.advance();
        let side = ["BOTH", "LEADING", "TRAILING"].into_iter().find(|w| {
            // A field of that name is not followed by an operand.
            self.is_word(w) && (self.is_word_at(1, "FROM") || self.begins_operand(1))
        });
        let function = match side {
            Some("LEADING") => "ltrim",
            Some("TRAILING") => "rtrim",
            _ => "trim",
        };
        if side.is_some() {
            self.advance();
        }
        let args = if self.eat_word("FROM") {
            vec![self.expr()?]
        } else {
            let mut args = vec![self.expr()?];
            if self.eat_word("FROM") {
                args.insert(0, self.expr()?);
            } else if side.is_some() {
                return self.expected("FROM");
            } else if self.eat(Sym::Comma) {
                args.push(self.expr()?);
            }
            args
        };
        let span = start.to(self.expect(Sym::RParen)?);
        self.known_call(function, start, args, span)
    }

    fn known_call(&self, function: &str, at: Span, args: Vec<Expr>, span: Span) -> Result<Expr, DqlError> {
        let height = args.iter().map(|e| e.height).max().unwrap_or(0);
        let name = Name { text: SmolStr::new(function), span: at };
        self.node(ExprKind::Call { name, distinct: false, args: CallArgs::List(args) }, span, height)
    }

    /// `ANY [AND EVERY] binder SATISFIES condition END`, or EVERY.
    pub(super) fn quantified(&mut self) -> Result<Expr, DqlError> {
        let any = self.is_word("ANY");
        let start = self.advance();
        let quantifier = match any {
            false => Quantifier::Every,
            true if self.eat_word("AND") => {
                self.expect_word("EVERY")?;
                Quantifier::AnyAndEvery
            }
            true => Quantifier::Any,
        };
        let binder = self.binder()?;
        self.expect_word("SATISFIES")?;
        let condition = self.expr()?;
        self.expect_word("END")?;
        let height = binder.source.height.max(condition.height);
        let kind = ExprKind::Quantified(Box::new(QuantifiedExpr { quantifier, binder, condition }));
        self.node(kind, start.to(self.last_span()), height)
    }

    /// `ARRAY value FOR binder [WHEN filter] END`, or `OBJECT key : value FOR …`.
    pub(super) fn transform(&mut self) -> Result<Expr, DqlError> {
        let object = self.is_word("OBJECT");
        let start = self.advance();
        let first = self.expr()?;
        let (key, value) = if object {
            self.expect(Sym::Colon)?;
            (Some(first), self.expr()?)
        } else {
            (None, first)
        };
        self.expect_word("FOR")?;
        let binder = self.binder()?;
        let filter = if self.eat_word("WHEN") { Some(self.expr()?) } else { None };
        self.expect_word("END")?;
        let parts = [key.as_ref(), filter.as_ref(), Some(&binder.source), Some(&value)];
        let height = parts.into_iter().flatten().map(|e| e.height).max().unwrap_or(0);
        let kind = ExprKind::Transform(Box::new(TransformExpr { key, value, binder, filter }));
        self.node(kind, start.to(self.last_span()), height)
    }

    /// `[key :] value IN source`, or WITHIN.
    fn binder(&mut self) -> Result<Binder, DqlError> {
        let first = self.name_or("the name of a variable")?;
        let (key, value) = if self.eat(Sym::Colon) {
            (Some(first), self.name_or("the name of a variable")?)
        } else {
            (None, first)
        };
        let within = self.eat_word("WITHIN");
        if !within && !self.eat_word("IN") {
            return self.expected("IN or WITHIN");
        }
        Ok(Binder { key, value, within, source: self.expr()? })
    }
}
