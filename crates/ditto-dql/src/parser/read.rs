//! SELECT, and the clauses it shares with the writing statements.

use ditto_types::{ErrorKind, SmolStr};

use super::{Parser, words};
use crate::ast::{
    Directive, Expr, FromTerm, GroupBy, Join, JoinKind, Name, OrderBy, Projection, ProjectionItem, Select,
    SortKey, Tail, Target, TypeDef, UseClause, UseIds,
};
use crate::decl::FieldKind;
use crate::error::DqlError;
use crate::lexer::{Span, Sym, Tok};

/// Deepest nesting of MAP declarations.
const MAX_TYPE_DEPTH: usize = ditto_types::MAX_DEPTH;

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Select, DqlError> {
        let span = self.expect_word("SELECT")?;
        let after = self.at;
        let distinct = self.is_word("DISTINCT").then(|| self.advance());
        self.statement_directives(after);
        let projection = self.projection()?;
        self.expect_word("FROM")?;
        let from = self.source_term()?;
        if self.is_sym(Sym::Comma) {
            return self.unsupported("Comma join", self.peek().span);
        }
        let mut joins = Vec::new();
        while let Some(join) = self.join()? {
            joins.push(join);
        }
        let filter = self.filter()?;
        let group_by = self.group_by()?;
        let having = if self.eat_word("HAVING") { Some(self.expr()?) } else { None };
        let tail = self.tail()?;
        for word in ["UNION", "INTERSECT", "EXCEPT", "FETCH"] {
            if self.is_word(word) {
                return self.unsupported(word, self.peek().span);
            }
        }
        Ok(Select { span, distinct, projection, from, joins, filter, group_by, having, tail })
    }

    pub(super) fn projection(&mut self) -> Result<Projection, DqlError> {
        let start = self.peek().span;
        let mut items = vec![self.projection_item()?];
        while self.eat(Sym::Comma) {
            items.push(self.projection_item()?);
        }
        Ok(Projection { items, span: start.to(self.last_span()) })
    }

    fn projection_item(&mut self) -> Result<ProjectionItem, DqlError> {
        if self.is_sym(Sym::Star) {
            return Ok(ProjectionItem::Wildcard(self.advance()));
        }
        if self.is_word("MISSING") && self.begins_name(1) {
            let span = self.advance();
            let path = self.path()?;
            return Ok(ProjectionItem::Remove { path, span });
        }
        let spread = matches!(self.peek().tok, Tok::Word | Tok::Quoted(_))
            && self.peek_at(1).tok == Tok::Sym(Sym::Dot)
            && self.peek_at(2).tok == Tok::Sym(Sym::Star);
        if spread {
            let qualifier = self.name()?;
            self.advance();
            self.advance();
            return Ok(ProjectionItem::Spread(qualifier));
        }
        let expr = self.expr()?;
        let alias = self.alias()?;
        Ok(ProjectionItem::Value { expr, alias })
    }

    /// Whether the token `ahead` can begin a path.
    fn begins_name(&self, ahead: usize) -> bool {
        match self.word_at(ahead) {
            Some(w) => !words::is_reserved(w),
            None => matches!(self.peek_at(ahead).tok, Tok::Quoted(_)),
        }
    }

    fn alias(&mut self) -> Result<Option<Name>, DqlError> {
        if self.eat_word("AS") {
            return self.name().map(Some);
        }
        let bare = match self.peek_word() {
            Some(w) => words::may_be_alias(w),
            None => matches!(self.peek().tok, Tok::Quoted(_)),
        };
        if bare { self.name().map(Some) } else { Ok(None) }
    }

    fn source_term(&mut self) -> Result<FromTerm, DqlError> {
        if self.is_sym(Sym::LParen) && self.is_word_at(1, "SELECT") {
            return self.unsupported("a subquery", self.peek().span);
        }
        let target = self.target()?;
        let after = self.at;
        let alias = self.alias()?;
        self.term(target, after, alias)
    }

    /// The collection of UPDATE, DELETE and EVICT.
    pub(super) fn written_term(&mut self) -> Result<FromTerm, DqlError> {
        let target = self.target()?;
        let after = self.at;
        self.term(target, after, None)
    }

    /// The clauses after a collection and its alias. `after` is the first token after the collection.
    fn term(&mut self, target: Target, after: usize, alias: Option<Name>) -> Result<FromTerm, DqlError> {
        let uses = self.use_clauses()?;
        Ok(FromTerm { target, alias, uses, directives: self.directives_from(after) })
    }

    /// A collection, with type definitions after the word COLLECTION.
    pub(super) fn target(&mut self) -> Result<Target, DqlError> {
        let typed = self.eat_word("COLLECTION");
        let mut target = self.plain_target()?;
        if typed {
            self.expect(Sym::LParen)?;
            target.types = self.type_defs(1)?;
        }
        Ok(target)
    }

    /// A collection without type definitions.
    pub(super) fn plain_target(&mut self) -> Result<Target, DqlError> {
        let first = self.name()?;
        // `namespace:name` is written without blanks.
        let colon = self.is_sym(Sym::Colon)
            && self.peek().span.start == first.span.end
            && self.peek_at(1).span.start == self.peek().span.end;
        let (namespace, collection) = if colon {
            self.advance();
            (Some(first), self.any_name()?)
        } else {
            (None, first)
        };
        Ok(Target { namespace, collection, types: Vec::new() })
    }

    /// Type definitions after their opening parenthesis.
    fn type_defs(&mut self, depth: usize) -> Result<Vec<TypeDef>, DqlError> {
        if depth > MAX_TYPE_DEPTH {
            return self.fail(format!("type definitions are nested deeper than {MAX_TYPE_DEPTH} levels"));
        }
        let mut defs = Vec::new();
        loop {
            let name = self.name()?;
            let word = self.peek_word().map(str::to_ascii_uppercase);
            let kind = match word.as_deref() {
                Some("REGISTER") => FieldKind::Register,
                Some("MAP") => FieldKind::Map,
                Some("COUNTER") => FieldKind::Counter,
                Some("PN_COUNTER" | "PNCOUNTER") => FieldKind::PnCounter,
                Some("ATTACHMENT") => FieldKind::Attachment,
                _ => return self.expected("REGISTER, MAP, COUNTER, PN_COUNTER or ATTACHMENT"),
            };
            self.advance();
            let nested = kind == FieldKind::Map && self.eat(Sym::LParen);
            let fields = if nested { self.type_defs(depth + 1)? } else { Vec::new() };
            defs.push(TypeDef { name, kind, fields });
            if self.eat(Sym::RParen) {
                return Ok(defs);
            }
            if !self.eat(Sym::Comma) {
                return self.expected("',' or ')'");
            }
        }
    }

    fn use_clauses(&mut self) -> Result<Vec<UseClause>, DqlError> {
        let mut out = Vec::new();
        while self.is_word("USE") {
            let span = self.advance();
            out.push(if self.eat_word("IDS") {
                UseClause::Ids { ids: self.use_ids()?, span }
            } else if self.eat_word("INDEX") {
                UseClause::Index { names: self.index_names()?, span }
            } else if self.eat_word("DIRECTIVES") {
                let (json, span) = self.string()?;
                UseClause::Directives(Directive { json, span })
            } else {
                return self.expected("IDS, INDEX or DIRECTIVES");
            });
        }
        Ok(out)
    }

    fn use_ids(&mut self) -> Result<UseIds, DqlError> {
        if self.eat_word("LIST") {
            return Ok(UseIds::List(self.expr()?));
        }
        let (start, open) = (self.at, self.peek().span);
        if self.eat(Sym::LParen) {
            if self.expr_list(Sym::RParen)?.len() > 1 {
                let list = open.to(self.last_span());
                let message = format!("{} is not supported", list.text(self.text));
                return self.fail_at(ErrorKind::QueryInvalid, message, list);
            }
            // One expression in parentheses, with whatever follows.
            self.at = start;
        }
        let mut ids = vec![self.expr()?];
        while self.eat(Sym::Comma) {
            ids.push(self.expr()?);
        }
        Ok(UseIds::Each(ids))
    }

    /// `'name'`, `''` for none, or `(name, …)`.
    fn index_names(&mut self) -> Result<Vec<SmolStr>, DqlError> {
        if !self.eat(Sym::LParen) {
            let (name, _) = self.string()?;
            return Ok(if name.is_empty() { Vec::new() } else { vec![name] });
        }
        let mut names = vec![self.name()?.text];
        while self.eat(Sym::Comma) {
            names.push(self.name()?.text);
        }
        self.expect(Sym::RParen)?;
        Ok(names)
    }

    pub(super) fn string(&mut self) -> Result<(SmolStr, Span), DqlError> {
        match &self.peek().tok {
            Tok::Str(s) => Ok((s.clone(), self.advance())),
            _ => self.expected("a string"),
        }
    }

    fn join(&mut self) -> Result<Option<Join>, DqlError> {
        let start = self.peek().span;
        if self.is_word("CROSS") || self.is_word("FULL") || self.is_word("NATURAL") {
            let kind = self.peek_word().map(str::to_ascii_uppercase).unwrap_or_default();
            return self.unsupported(&format!("{kind} JOIN"), start);
        }
        let kind = if self.eat_word("LEFT") {
            self.eat_word("OUTER");
            JoinKind::Left
        } else if self.eat_word("RIGHT") {
            self.eat_word("OUTER");
            JoinKind::Right
        } else if self.eat_word("INNER") || self.is_word("JOIN") {
            JoinKind::Inner
        } else {
            return Ok(None);
        };
        let span = start.to(self.expect_word("JOIN")?);
        let term = self.source_term()?;
        self.expect_word("ON")?;
        Ok(Some(Join { kind, term, on: self.expr()?, span }))
    }

    pub(super) fn filter(&mut self) -> Result<Option<Expr>, DqlError> {
        if self.eat_word("WHERE") { self.expr().map(Some) } else { Ok(None) }
    }

    fn group_by(&mut self) -> Result<Option<GroupBy>, DqlError> {
        if !self.is_word("GROUP") {
            return Ok(None);
        }
        let span = self.advance();
        self.expect_word("BY")?;
        let mut keys = vec![self.expr()?];
        while self.eat(Sym::Comma) {
            keys.push(self.expr()?);
        }
        Ok(Some(GroupBy { keys, span }))
    }

    /// ORDER BY, LIMIT and OFFSET, each at most once, in any order.
    pub(super) fn tail(&mut self) -> Result<Tail, DqlError> {
        let mut tail = Tail::default();
        loop {
            let span = self.peek().span;
            if tail.order_by.is_none() && self.eat_word("ORDER") {
                self.expect_word("BY")?;
                let mut keys = vec![self.sort_key()?];
                while self.eat(Sym::Comma) {
                    keys.push(self.sort_key()?);
                }
                tail.order_by = Some(OrderBy { keys, span });
            } else if tail.limit.is_none() && self.eat_word("LIMIT") {
                tail.limit = Some((self.expr()?, span));
            } else if tail.offset.is_none() && self.eat_word("OFFSET") {
                tail.offset = Some((self.expr()?, span));
            } else {
                return Ok(tail);
            }
        }
    }

    fn sort_key(&mut self) -> Result<SortKey, DqlError> {
        let expr = self.expr()?;
        let descending = self.eat_word("DESC");
        if !descending {
            self.eat_word("ASC");
        }
        if self.is_word("NULLS") {
            return self.unsupported("NULLS FIRST and NULLS LAST", self.peek().span);
        }
        Ok(SortKey { expr, descending })
    }
}
