//! INSERT, UPDATE, DELETE and EVICT.

use super::Parser;
use crate::ast::{Action, Change, Expr, Insert, InsertSource, Name, Remove, Returning, Update};
use crate::error::DqlError;
use crate::lexer::Sym;
use crate::plan::ConflictPolicy;

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Result<Insert, DqlError> {
        self.expect_word("INSERT")?;
        self.expect_word("INTO")?;
        let target = self.target()?;
        let initial = self.eat_word("INITIAL");
        let source = if self.eat_word("DOCUMENTS") || self.eat_word("VALUES") {
            let mut documents = vec![self.document()?];
            while self.eat(Sym::Comma) {
                documents.push(self.document()?);
            }
            InsertSource::Documents(documents)
        } else if !initial && self.is_word("SELECT") {
            InsertSource::Select(Box::new(self.select()?))
        } else if initial {
            return self.expected("DOCUMENTS or VALUES");
        } else {
            return self.expected("DOCUMENTS, VALUES or SELECT");
        };
        let mut policy = ConflictPolicy::default();
        if self.is_word("ON") {
            if initial {
                return self.fail("INITIAL cannot be combined with ON ID CONFLICT");
            }
            policy = self.policy()?;
        }
        let returning = self.returning()?;
        Ok(Insert { target, initial, source, policy, returning })
    }

    fn document(&mut self) -> Result<Expr, DqlError> {
        // An object without parentheses is a common slip that means one thing only.
        if self.is_sym(Sym::LBrace) {
            return self.expr();
        }
        self.expect(Sym::LParen)?;
        if self.is_word("SELECT") {
            return self.expected("a document");
        }
        let e = self.expr()?;
        self.expect(Sym::RParen)?;
        Ok(e)
    }

    fn policy(&mut self) -> Result<ConflictPolicy, DqlError> {
        self.expect_word("ON")?;
        self.expect_word("ID")?;
        self.expect_word("CONFLICT")?;
        if self.eat_word("FAIL") {
            return Ok(ConflictPolicy::Fail);
        }
        if !self.eat_word("DO") {
            return self.expected("FAIL or DO");
        }
        // MERGE occurs in old documentation and says what UPDATE does.
        for (word, policy) in [
            ("FAIL", ConflictPolicy::Fail),
            ("NOTHING", ConflictPolicy::DoNothing),
            ("UPDATE", ConflictPolicy::DoUpdate),
            ("MERGE", ConflictPolicy::DoUpdate),
            ("UPDATE_LOCAL_DIFF", ConflictPolicy::DoUpdateLocalDiff),
        ] {
            if self.eat_word(word) {
                return Ok(policy);
            }
        }
        self.expected("FAIL, NOTHING, UPDATE or UPDATE_LOCAL_DIFF")
    }

    fn returning(&mut self) -> Result<Option<Returning>, DqlError> {
        if !self.is_word("RETURNING") {
            return Ok(None);
        }
        let span = self.advance();
        Ok(Some(Returning { projection: self.projection()?, span }))
    }

    pub(super) fn update(&mut self) -> Result<Update, DqlError> {
        self.expect_word("UPDATE")?;
        let from = self.written_term()?;
        let mut changes = Vec::new();
        if self.eat_word("APPLY") {
            loop {
                changes.push(self.apply_item()?);
                if !self.eat(Sym::Comma) {
                    break;
                }
            }
        }
        if self.eat_word("SET") {
            self.set_items(&[], &mut changes)?;
        }
        if self.eat_word("UNSET") {
            loop {
                changes.push(Change { path: self.path()?, action: Action::Unset });
                if !self.eat(Sym::Comma) {
                    break;
                }
            }
        }
        if changes.is_empty() {
            return self.fail("Missing SET and/or UNSET clause");
        }
        if self.is_word("APPLY") || self.is_word("SET") {
            return self.fail("the order of the clauses is APPLY, SET, UNSET");
        }
        let filter = self.filter()?;
        let tail = self.tail()?;
        let returning = self.returning()?;
        Ok(Update { from, changes, filter, tail, returning })
    }

    fn apply_item(&mut self) -> Result<Change, DqlError> {
        let path = self.path()?;
        let action = if self.eat_word("INCREMENT") {
            self.expect_word("BY")?;
            Action::Increment(self.expr()?)
        } else if self.eat_word("RESTART") {
            let to = if self.eat_word("WITH") { Some(self.expr()?) } else { None };
            Action::Restart(to)
        } else if self.eat_word("PN_INCREMENT") {
            self.expect_word("BY")?;
            Action::PnIncrement(self.expr()?)
        } else {
            return self.expected("INCREMENT, RESTART or PN_INCREMENT");
        };
        Ok(Change { path, action })
    }

    /// `path = value` and the older notation `path -> mutator`, below `parent`.
    fn set_items(&mut self, parent: &[Name], changes: &mut Vec<Change>) -> Result<(), DqlError> {
        loop {
            let mut path = parent.to_vec();
            path.extend(self.path()?);
            // Bounds the recursion too.
            self.check_path_length(&path)?;
            if self.eat(Sym::Arrow) {
                self.mutator(path, changes)?;
            } else if self.eat(Sym::Eq) {
                changes.push(Change { path, action: Action::Set(self.expr()?) });
            } else {
                return self.expected("'='");
            }
            if !self.eat(Sym::Comma) {
                return Ok(());
            }
        }
    }

    /// What follows `->`: `tombstone()`, `default()` or changes of the fields below.
    fn mutator(&mut self, path: Vec<Name>, changes: &mut Vec<Change>) -> Result<(), DqlError> {
        if self.eat(Sym::LParen) {
            self.set_items(&path, changes)?;
            if !self.eat(Sym::RParen) {
                return self.expected("',' or ')'");
            }
            return Ok(());
        }
        let action = if self.eat_word("TOMBSTONE") {
            Action::Unset
        } else if self.eat_word("DEFAULT") {
            Action::Default
        } else {
            return self.expected("'(', tombstone() or default()");
        };
        self.expect(Sym::LParen)?;
        self.expect(Sym::RParen)?;
        changes.push(Change { path, action });
        Ok(())
    }

    pub(super) fn remove(&mut self, evict: bool) -> Result<Remove, DqlError> {
        self.advance();
        self.expect_word("FROM")?;
        let from = self.written_term()?;
        let filter = self.filter()?;
        let tail = self.tail()?;
        let returning = self.returning()?;
        Ok(Remove { evict, from, filter, tail, returning })
    }
}
