//! Three-valued logic, with MISSING beside NULL.

use ditto_types::Value;

/// Outcome of a condition. Only [`Truth::True`] keeps a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    True,
    False,
    Null,
    Missing,
    /// An operand that is no boolean.
    NotBoolean,
}

impl Truth {
    pub(crate) fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Bool(b)) => Truth::from(*b),
            Some(Value::Null) => Truth::Null,
            Some(_) => Truth::NotBoolean,
            None => Truth::Missing,
        }
    }

    /// The value of a condition.
    pub(crate) fn value(self) -> Option<Value> {
        match self {
            Truth::True => Some(Value::Bool(true)),
            Truth::False => Some(Value::Bool(false)),
            Truth::Null => Some(Value::Null),
            Truth::Missing | Truth::NotBoolean => None,
        }
    }

    /// NOT: an operand that is neither true nor false gives NULL, one that is no boolean MISSING.
    pub(crate) fn negate(self) -> Self {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            Truth::Null | Truth::Missing => Truth::Null,
            Truth::NotBoolean => Truth::Missing,
        }
    }
}

impl From<bool> for Truth {
    fn from(b: bool) -> Self {
        if b { Truth::True } else { Truth::False }
    }
}

/// Folds the operands of AND (`decisive` false) or OR (`decisive` true).
#[derive(Clone, Copy)]
pub(crate) struct Chain {
    decisive: Truth,
    state: Truth,
}

impl Chain {
    pub(crate) fn and() -> Self {
        Self { decisive: Truth::False, state: Truth::True }
    }

    pub(crate) fn or() -> Self {
        Self { decisive: Truth::True, state: Truth::False }
    }

    /// Takes an operand; `true` when the result is decided.
    pub(crate) fn push(&mut self, operand: Truth) -> bool {
        match operand {
            t if t == self.decisive => {
                self.state = t;
                return true;
            }
            Truth::Null | Truth::Missing if self.state != Truth::Missing => self.state = Truth::Null,
            // MISSING stands for "an operand was no boolean" here.
            Truth::NotBoolean => self.state = Truth::Missing,
            _ => {}
        }
        false
    }

    pub(crate) fn result(self) -> Truth {
        self.state
    }
}

/// XOR over any number of operands: whether an odd number is true, if all are booleans.
pub(crate) fn xor(operands: impl IntoIterator<Item = Truth>) -> Truth {
    let mut state = Truth::False;
    for t in operands {
        state = match (state, t) {
            (Truth::Missing, _) | (_, Truth::NotBoolean) => Truth::Missing,
            (Truth::Null, _) | (_, Truth::Null | Truth::Missing) => Truth::Null,
            (s, t) => Truth::from(s != t),
        };
    }
    state
}
