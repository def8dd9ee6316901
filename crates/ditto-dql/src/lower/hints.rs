//! USE clauses and directives.

use std::sync::Arc;

use ditto_types::{ErrorKind, Value, json};

use super::Lower;
use super::expr::Scope;
use crate::ast;
use crate::directives::{Directives, index_names};
use crate::error::DqlError;
use crate::lexer::Span;
use crate::plan::Hints;
use crate::planner::UseIds;
use crate::scalar::Scalar;

const NO_FIELDS_IN_IDS: &str = "USE IDS cannot depend on fields";

impl Lower<'_> {
    /// What a term of FROM says about its access path. A comment that is no directive is ignored: it is a comment.
    pub(super) fn hints(
        &mut self,
        uses: Vec<ast::UseClause>,
        comments: &[ast::Directive],
    ) -> Result<Hints, DqlError> {
        let mut hints = Hints::default();
        let comments = self.directives.iter().chain(comments);
        // The later one wins, as the one that is more specific does.
        for value in comments.filter_map(|d| json::from_str(&d.json).ok()) {
            apply(&mut hints, &value);
        }
        for clause in uses {
            match clause {
                ast::UseClause::Ids { ids, span } => {
                    if hints.ids.is_some() {
                        return self.fail("USE IDS is written twice", span);
                    }
                    hints.ids = Some(Arc::new(self.use_ids(ids)?));
                }
                ast::UseClause::Index { names, .. } => hints.indexes = Some(names),
                ast::UseClause::Directives(d) => match json::from_str(&d.json) {
                    Ok(value @ Value::Object(_)) => apply(&mut hints, &value),
                    Ok(_) => return self.no_directives("no object", d.span),
                    Err(e) => return self.no_directives(&e.to_string(), d.span),
                },
            }
        }
        Ok(hints)
    }

    fn no_directives<T>(&self, why: &str, span: Span) -> Result<T, DqlError> {
        let message = format!("USE DIRECTIVES needs a JSON object: {why}");
        Err(DqlError::at(ErrorKind::QueryInvalid, message, self.text, span.start as usize))
    }

    fn use_ids(&mut self, ids: ast::UseIds) -> Result<UseIds, DqlError> {
        let mut constant =
            |e| -> Result<Scalar, DqlError> { self.expr(e, Scope::constant("USE IDS", NO_FIELDS_IN_IDS)) };
        Ok(match ids {
            ast::UseIds::Each(list) => {
                UseIds::Each(list.into_iter().map(constant).collect::<Result<_, _>>()?)
            }
            ast::UseIds::List(e) => UseIds::List(constant(e)?),
        })
    }
}

/// Adds directives; those of the outermost object that name an index are for the term itself.
fn apply(hints: &mut Hints, value: &Value) {
    let Value::Object(object) = value else { return };
    if let Some(names) = object.get("#index").and_then(index_names) {
        hints.indexes = Some(names);
    }
    let newer = Directives::from_object(object);
    hints.directives = newer.over(&hints.directives);
}

#[cfg(test)]
mod tests {
    use ditto_types::SmolStr;

    use super::*;

    #[test]
    fn later_directives_win() {
        let mut hints = Hints::default();
        for text in
            [r##"{"#max_scans":1,"#prefer_order":true}"##, r##"{"#max_scans":2,"c":{"#index":"x"}}"##, "[]"]
        {
            apply(&mut hints, &json::from_str(text).expect("JSON"));
        }
        assert_eq!(hints.directives.max_scans, Some(2));
        assert_eq!(hints.directives.prefer_order, Some(true));
        assert_eq!(hints.directives.index.get("c"), Some(&vec![SmolStr::new("x")]));
        apply(&mut hints, &json::from_str(r##"{"#index":""}"##).expect("JSON"));
        assert_eq!(hints.indexes, Some(Vec::new()));
    }
}
