//! What a live query needs of its plan: which documents concern it.

use super::SelectPlan;
use crate::matcher::Watch;

impl SelectPlan {
    /// The documents whose change can alter the result, for a [`Matcher`](crate::Matcher).
    pub fn watches(&self) -> Vec<Watch> {
        let (collection, filter, bound) = (self.collection(), self.filter(), self.bound());
        vec![match filter {
            // A declared field is read as its kind, which is not what the matcher sees.
            Some(filter) if self.declared().is_empty() => Watch::condition(collection, filter, bound),
            _ => Watch::all(collection),
        }]
    }
}
