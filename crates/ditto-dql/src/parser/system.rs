//! CREATE INDEX, DROP INDEX, ALTER SYSTEM and SHOW.

use super::Parser;
use crate::ast::{AlterSystem, CreateIndex, DropIndex, IndexKey, Name, Show, ShowFilter};
use crate::error::DqlError;
use crate::lexer::{Sym, Tok};

impl Parser<'_> {
    pub(super) fn create_index(&mut self) -> Result<CreateIndex, DqlError> {
        self.expect_word("CREATE")?;
        self.expect_word("INDEX")?;
        // `IF` can also be the name of the index.
        let if_absent = self.is_word("IF") && !self.is_word_at(1, "ON");
        if if_absent {
            self.advance();
            self.expect_word("NOT")?;
            self.expect_word("EXISTS")?;
        }
        let name = self.name()?;
        self.expect_word("ON")?;
        let target = self.plain_target()?;
        self.expect(Sym::LParen)?;
        let mut keys = vec![self.index_key()?];
        while self.eat(Sym::Comma) {
            keys.push(self.index_key()?);
        }
        if !self.eat(Sym::RParen) {
            return self.expected("',' or ')'");
        }
        Ok(CreateIndex { name, if_absent, target, keys })
    }

    fn index_key(&mut self) -> Result<IndexKey, DqlError> {
        let path = self.path()?;
        let descending = self.eat_word("DESC");
        if !descending {
            self.eat_word("ASC");
        }
        let exclude = self.eat_word("EXCLUDE");
        if exclude || self.eat_word("INCLUDE") {
            self.expect_word("MISSING")?;
        }
        Ok(IndexKey { path, descending, include_missing: !exclude })
    }

    pub(super) fn drop_index(&mut self) -> Result<DropIndex, DqlError> {
        self.expect_word("DROP")?;
        self.expect_word("INDEX")?;
        let if_present = self.is_word("IF") && !self.is_word_at(1, "ON");
        if if_present {
            self.advance();
            self.expect_word("EXISTS")?;
        }
        let name = self.name()?;
        self.expect_word("ON")?;
        Ok(DropIndex { name, if_present, target: self.plain_target()? })
    }

    pub(super) fn alter_system(&mut self) -> Result<AlterSystem, DqlError> {
        self.expect_word("ALTER")?;
        self.expect_word("SYSTEM")?;
        if self.eat_word("RESET") {
            return Ok(if self.is_word("ALL") {
                self.advance();
                AlterSystem::ResetAll
            } else {
                AlterSystem::Reset(self.setting()?)
            });
        }
        if !self.eat_word("SET") {
            return self.expected("SET or RESET");
        }
        let name = self.setting()?;
        if !self.eat(Sym::Eq) && !self.eat_word("TO") {
            return self.expected("'=' or TO");
        }
        let default =
            self.is_word("DEFAULT") && matches!(self.peek_at(1).tok, Tok::End | Tok::Sym(Sym::Semicolon));
        if default {
            self.advance();
            return Ok(AlterSystem::Set(name, None));
        }
        Ok(AlterSystem::Set(name, Some(self.expr()?)))
    }

    pub(super) fn show(&mut self) -> Result<Show, DqlError> {
        self.expect_word("SHOW")?;
        if !self.eat_word("ALL") {
            return Ok(Show::One(self.setting()?));
        }
        let fold_case = self.eat_word("ILIKE");
        if !fold_case && !self.eat_word("LIKE") {
            return Ok(Show::All(None));
        }
        let (pattern, _) = self.string()?;
        Ok(Show::All(Some(ShowFilter { pattern, fold_case })))
    }

    /// The name of a system parameter.
    fn setting(&mut self) -> Result<Name, DqlError> {
        self.name()
    }
}
