//! Expressions.

use ditto_types::{ErrorKind, Value};

use super::{MAX_EXPRESSION_DEPTH, Parser, words};
use crate::ast::{
    ArithOp, CallArgs, ChainOp, CompareOp, Expr, ExprKind, IsTest, LikeExpr, Name, PatternKind,
};
use crate::error::DqlError;
use crate::lexer::{Span, Sym, Tok};
use crate::order::{Number, int_value};

/// Binding powers; a higher one binds tighter.
pub(super) mod power {
    pub(in crate::parser) const OR: u8 = 5;
    pub(in crate::parser) const XOR: u8 = 7;
    pub(in crate::parser) const AND: u8 = 10;
    pub(in crate::parser) const NOT: u8 = 15;
    pub(in crate::parser) const IS: u8 = 17;
    pub(in crate::parser) const LIKE: u8 = 19;
    pub(in crate::parser) const COMPARE: u8 = 20;
    pub(in crate::parser) const SHIFT: u8 = 22;
    pub(in crate::parser) const ADD: u8 = 30;
    pub(in crate::parser) const MUL: u8 = 40;
}

/// An operand of a tighter operator is a level of recursion too, although the tree may stay flat.
const MAX_RECURSION: usize = 2 * MAX_EXPRESSION_DEPTH;

#[derive(Clone, Copy)]
enum Infix {
    Chain(ChainOp, u8),
    Compare(CompareOp),
    Arith(ArithOp, u8),
    Is,
    Like(PatternKind),
    Between,
    In,
}

impl Infix {
    fn power(self) -> u8 {
        match self {
            Infix::Chain(_, p) | Infix::Arith(_, p) => p,
            Infix::Compare(_) | Infix::Between | Infix::In => power::COMPARE,
            Infix::Is => power::IS,
            Infix::Like(_) => power::LIKE,
        }
    }
}

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Result<Expr, DqlError> {
        self.expr_above(0)
    }

    /// Counts a level of nesting around `f`, so that no text can exhaust the stack.
    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, DqlError>) -> Result<T, DqlError> {
        if self.nesting >= MAX_RECURSION {
            return self.too_deep(self.peek().span);
        }
        self.nesting += 1;
        let result = f(self);
        self.nesting -= 1;
        result
    }

    fn too_deep<T>(&self, span: Span) -> Result<T, DqlError> {
        self.fail_at(
            ErrorKind::DepthLimitExceeded,
            format!("expression is nested deeper than {MAX_EXPRESSION_DEPTH} levels"),
            span,
        )
    }

    fn leaf(&self, kind: ExprKind, span: Span) -> Expr {
        Expr { kind, span, height: 1 }
    }

    /// Builds a node above children of at most `height`.
    pub(super) fn node(&self, kind: ExprKind, span: Span, height: u16) -> Result<Expr, DqlError> {
        if usize::from(height) >= MAX_EXPRESSION_DEPTH {
            return self.too_deep(span);
        }
        Ok(Expr { kind, span, height: height + 1 })
    }

    /// An expression of operators that bind at least as tight as `min`.
    pub(super) fn expr_above(&mut self, min: u8) -> Result<Expr, DqlError> {
        self.nested(|p| {
            let mut left = p.prefix()?;
            while let Some((infix, negated)) = p.peek_infix() {
                if infix.power() < min {
                    break;
                }
                if negated {
                    p.advance();
                }
                left = p.infix(left, infix, negated)?;
            }
            Ok(left)
        })
    }

    /// The operator at the current token, and whether a NOT stands before it.
    fn peek_infix(&self) -> Option<(Infix, bool)> {
        if let Tok::Sym(sym) = self.peek().tok {
            return Some((
                match sym {
                    Sym::Eq => Infix::Compare(CompareOp::Eq),
                    Sym::Ne => Infix::Compare(CompareOp::Ne),
                    Sym::Lt => Infix::Compare(CompareOp::Lt),
                    Sym::Le => Infix::Compare(CompareOp::Le),
                    Sym::Gt => Infix::Compare(CompareOp::Gt),
                    Sym::Ge => Infix::Compare(CompareOp::Ge),
                    Sym::Shl => Infix::Arith(ArithOp::Shl, power::SHIFT),
                    Sym::Shr => Infix::Arith(ArithOp::Shr, power::SHIFT),
                    Sym::Plus => Infix::Arith(ArithOp::Add, power::ADD),
                    Sym::Minus => Infix::Arith(ArithOp::Sub, power::ADD),
                    Sym::Star => Infix::Arith(ArithOp::Mul, power::MUL),
                    Sym::Slash => Infix::Arith(ArithOp::Div, power::MUL),
                    Sym::Percent => Infix::Arith(ArithOp::Rem, power::MUL),
                    Sym::Concat => Infix::Chain(ChainOp::Concat, power::MUL),
                    _ => return None,
                },
                false,
            ));
        }
        let negated = self.is_word("NOT");
        let word = self.word_at(usize::from(negated))?;
        let is = |w: &str| word.eq_ignore_ascii_case(w);
        let infix = if is("LIKE") {
            Infix::Like(PatternKind::Like)
        } else if is("ILIKE") {
            Infix::Like(PatternKind::ILike)
        } else if is("SIMILAR") {
            Infix::Like(PatternKind::SimilarTo)
        } else if is("BETWEEN") {
            Infix::Between
        } else if is("IN") {
            Infix::In
        } else if negated {
            return None;
        } else if is("AND") {
            Infix::Chain(ChainOp::And, power::AND)
        } else if is("OR") {
            Infix::Chain(ChainOp::Or, power::OR)
        } else if is("XOR") {
            Infix::Chain(ChainOp::Xor, power::XOR)
        } else if is("IS") {
            Infix::Is
        } else {
            return None;
        };
        Some((infix, negated))
    }

    /// Reads the operator and its right side. The arms are functions of their own to keep this frame small, since it
    /// recurses.
    fn infix(&mut self, left: Expr, infix: Infix, negated: bool) -> Result<Expr, DqlError> {
        self.advance();
        match infix {
            Infix::Chain(op, power) => self.chain(left, op, power),
            Infix::Compare(op) => {
                self.binary(left, power::COMPARE, |a, b| ExprKind::Compare(op, Box::new(a), Box::new(b)))
            }
            Infix::Arith(op, power) => {
                self.binary(left, power, |a, b| ExprKind::Arith(op, Box::new(a), Box::new(b)))
            }
            Infix::Is => self.is_test(left),
            Infix::Like(kind) => self.like(left, kind, negated),
            Infix::Between => self.between(left, negated),
            Infix::In => self.membership(left, negated),
        }
    }

    fn binary(
        &mut self,
        left: Expr,
        power: u8,
        build: impl FnOnce(Expr, Expr) -> ExprKind,
    ) -> Result<Expr, DqlError> {
        let right = self.expr_above(power + 1)?;
        let (span, height) = (left.span.to(right.span), left.height.max(right.height));
        self.node(build(left, right), span, height)
    }

    fn like(&mut self, value: Expr, kind: PatternKind, negated: bool) -> Result<Expr, DqlError> {
        if kind == PatternKind::SimilarTo {
            self.expect_word("TO")?;
        }
        let pattern = self.expr_above(power::LIKE + 1)?;
        let mut height = value.height.max(pattern.height);
        let escape = if self.eat_word("ESCAPE") { Some(self.expr_above(power::LIKE + 1)?) } else { None };
        height = height.max(escape.as_ref().map_or(0, |e| e.height));
        let span = value.span.to(self.last_span());
        let like = LikeExpr { value, pattern, escape, kind, negated };
        self.node(ExprKind::Like(Box::new(like)), span, height)
    }

    fn between(&mut self, value: Expr, negated: bool) -> Result<Expr, DqlError> {
        let low = self.expr_above(power::COMPARE + 1)?;
        self.expect_word("AND")?;
        let high = self.expr_above(power::COMPARE + 1)?;
        let span = value.span.to(high.span);
        let height = value.height.max(low.height).max(high.height);
        let (value, low, high) = (Box::new(value), Box::new(low), Box::new(high));
        self.node(ExprKind::Between { value, low, high, negated }, span, height)
    }

    fn chain(&mut self, left: Expr, op: ChainOp, power: u8) -> Result<Expr, DqlError> {
        let right = self.expr_above(power + 1)?;
        let span = left.span.to(right.span);
        match left {
            Expr { kind: ExprKind::Chain(o, mut items), height, .. } if o == op => {
                let height = height.max(right.height + 1);
                items.push(right);
                self.node(ExprKind::Chain(op, items), span, height - 1)
            }
            left => {
                let height = left.height.max(right.height);
                self.node(ExprKind::Chain(op, vec![left, right]), span, height)
            }
        }
    }

    fn is_test(&mut self, value: Expr) -> Result<Expr, DqlError> {
        let negated = self.eat_word("NOT");
        let test = match self.peek_word().map(str::to_ascii_uppercase).as_deref() {
            Some("NULL" | "UNKNOWN") => IsTest::Null,
            Some("MISSING") => IsTest::Missing,
            Some("TRUE") => IsTest::True,
            Some("FALSE") => IsTest::False,
            _ => return self.expected("NULL, UNKNOWN, MISSING, TRUE or FALSE"),
        };
        let span = value.span.to(self.advance());
        let height = value.height;
        self.node(ExprKind::Is { value: Box::new(value), test, negated }, span, height)
    }

    fn membership(&mut self, value: Expr, negated: bool) -> Result<Expr, DqlError> {
        let value = Box::new(value);
        if self.is_sym(Sym::LParen) {
            self.advance();
            if self.is_word("SELECT") {
                return self.unsupported("a subquery", self.peek().span);
            }
            let list = self.expr_list(Sym::RParen)?;
            let span = value.span.to(self.last_span());
            let height = list.iter().map(|e| e.height).fold(value.height, u16::max);
            return self.node(ExprKind::InList { value, list, negated }, span, height);
        }
        let array = self.expr_above(power::COMPARE + 1)?;
        let span = value.span.to(array.span);
        let height = value.height.max(array.height);
        self.node(ExprKind::InValue { value, array: Box::new(array), negated }, span, height)
    }

    /// `expr { "," expr } close`: at least one.
    pub(super) fn expr_list(&mut self, close: Sym) -> Result<Vec<Expr>, DqlError> {
        let mut list = vec![self.expr()?];
        while self.eat(Sym::Comma) {
            list.push(self.expr()?);
        }
        if !self.is_sym(close) {
            return self.expected(&format!("',' or '{}'", close.text()));
        }
        self.advance();
        Ok(list)
    }

    fn prefix(&mut self) -> Result<Expr, DqlError> {
        if self.is_word("NOT") {
            self.not()
        } else if self.is_sym(Sym::Minus) || self.is_sym(Sym::Plus) {
            self.sign()
        } else {
            self.primary()
        }
    }

    fn not(&mut self) -> Result<Expr, DqlError> {
        let start = self.advance();
        let e = self.expr_above(power::NOT)?;
        let (span, height) = (start.to(e.span), e.height);
        self.node(ExprKind::Not(Box::new(e)), span, height)
    }

    fn sign(&mut self) -> Result<Expr, DqlError> {
        let minus = self.is_sym(Sym::Minus);
        let start = self.advance();
        let e = self.nested(Self::prefix)?;
        let (span, height) = (start.to(e.span), e.height);
        if !minus {
            return self.node(ExprKind::Plus(Box::new(e)), span, height);
        }
        // The sign belongs to the number, so that the smallest integer can be written; before parentheses it is an
        // operator.
        let bare = !e.span.text(self.text).starts_with('(');
        let number = match &e.kind {
            ExprKind::Literal(v) if bare => Number::of(v),
            _ => None,
        };
        match number {
            Some(Number::Float(f)) => Ok(self.leaf(ExprKind::Literal(Value::Float(-f)), span)),
            Some(Number::Int(i)) => match int_value(-i) {
                Some(v) => Ok(self.leaf(ExprKind::Literal(v), span)),
                None => self.out_of_range(span),
            },
            None => self.node(ExprKind::Negate(Box::new(e)), span, height),
        }
    }

    fn out_of_range<T>(&self, span: Span) -> Result<T, DqlError> {
        let text = span.text(self.text);
        self.fail_at(ErrorKind::QueryInvalid, format!("number {text} is out of range"), span)
    }

    fn primary(&mut self) -> Result<Expr, DqlError> {
        match &self.peek().tok {
            Tok::Int(i) => {
                let value = Value::from(*i);
                self.literal(value)
            }
            Tok::Float(f) => {
                let value = Value::Float(*f);
                self.literal(value)
            }
            Tok::Str(s) => {
                let value = Value::Str(s.clone());
                self.literal(value)
            }
            Tok::Quoted(_) => self.path_or_call(),
            Tok::Word => self.word(),
            Tok::Sym(Sym::LParen) => self.parenthesised(),
            Tok::Sym(Sym::LBracket) => self.array(),
            Tok::Sym(Sym::LBrace) => self.object(),
            Tok::Sym(Sym::Colon) => self.parameter(),
            _ => self.expected("an expression"),
        }
    }

    fn parenthesised(&mut self) -> Result<Expr, DqlError> {
        let open = self.advance();
        if self.is_word("SELECT") {
            return self.unsupported("a subquery", self.peek().span);
        }
        let mut e = self.expr()?;
        e.span = open.to(self.expect(Sym::RParen)?);
        Ok(e)
    }

    fn array(&mut self) -> Result<Expr, DqlError> {
        let open = self.advance();
        let items = if self.eat(Sym::RBracket) { Vec::new() } else { self.expr_list(Sym::RBracket)? };
        let height = items.iter().map(|e| e.height).max().unwrap_or(0);
        self.node(ExprKind::Array(items), open.to(self.last_span()), height)
    }

    fn literal(&mut self, value: Value) -> Result<Expr, DqlError> {
        let span = self.advance();
        Ok(self.leaf(ExprKind::Literal(value), span))
    }

    /// `:name`, without a blank between.
    fn parameter(&mut self) -> Result<Expr, DqlError> {
        let colon = self.advance();
        let next = self.peek();
        if next.tok != Tok::Word || next.span.start != colon.end {
            return self.fail_at(ErrorKind::QueryInvalid, "expected a parameter name after ':'", colon);
        }
        let name = self.bare_name();
        Ok(self.leaf(ExprKind::Param(name.text), colon.to(name.span)))
    }

    fn object(&mut self) -> Result<Expr, DqlError> {
        let open = self.advance();
        let mut fields = Vec::new();
        let mut height = 0;
        if !self.is_sym(Sym::RBrace) {
            loop {
                let key = self.expr()?;
                self.expect(Sym::Colon)?;
                let value = self.expr()?;
                height = height.max(key.height).max(value.height);
                fields.push((key, value));
                if !self.eat(Sym::Comma) {
                    break;
                }
            }
        }
        if !self.is_sym(Sym::RBrace) {
            return self.expected("',' or '}'");
        }
        let span = open.to(self.advance());
        self.node(ExprKind::Object(fields), span, height)
    }

    /// An expression that begins with a bare word.
    fn word(&mut self) -> Result<Expr, DqlError> {
        let span = self.peek().span;
        let upper = span.text(self.text).to_ascii_uppercase();
        let called = self.peek_at(1).tok == Tok::Sym(Sym::LParen);
        match upper.as_str() {
            "TRUE" => self.literal(Value::Bool(true)),
            "FALSE" => self.literal(Value::Bool(false)),
            "NULL" => self.literal(Value::Null),
            "MISSING" => {
                self.advance();
                Ok(self.leaf(ExprKind::Missing, span))
            }
            "CASE" => self.case(),
            "CAST" if called => self.cast(),
            "POSITION" if called => self.position(),
            "TRIM" if called => self.trim(),
            "EXISTS" => self.unsupported("a subquery", span),
            "ANY" | "EVERY" if self.begins_form() => self.quantified(),
            "ARRAY" | "OBJECT" if self.begins_form() => self.transform(),
            _ => self.path_or_call(),
        }
    }

    pub(super) fn path_or_call(&mut self) -> Result<Expr, DqlError> {
        let name = self.name_or("an expression")?;
        if self.eat(Sym::LParen) {
            return self.call(name);
        }
        let mut path = vec![name];
        // `c.*` ends before its dot; it is for the projection to read.
        while self.is_sym(Sym::Dot) && self.peek_at(1).tok != Tok::Sym(Sym::Star) {
            self.advance();
            path.push(self.any_name()?);
            self.check_path_length(&path)?;
        }
        let first = path.first().map_or(Span::default(), |n| n.span);
        Ok(self.leaf(ExprKind::Path(path), first.to(self.last_span())))
    }

    pub(super) fn name_or(&mut self, what: &str) -> Result<Name, DqlError> {
        match self.peek_word() {
            Some(w) if words::is_reserved(w) => self.expected(what),
            _ => self.name(),
        }
    }

    /// A call after its opening parenthesis.
    fn call(&mut self, name: Name) -> Result<Expr, DqlError> {
        let distinct = self.eat_word("DISTINCT");
        let (args, height) = if !distinct && self.eat(Sym::Star) {
            self.expect(Sym::RParen)?;
            (CallArgs::Star, 0)
        } else if !distinct && self.eat(Sym::RParen) {
            (CallArgs::List(Vec::new()), 0)
        } else {
            let list = self.expr_list(Sym::RParen)?;
            let height = list.iter().map(|e| e.height).max().unwrap_or(0);
            (CallArgs::List(list), height)
        };
        let span = name.span.to(self.last_span());
        self.node(ExprKind::Call { name, distinct, args }, span, height)
    }
}
