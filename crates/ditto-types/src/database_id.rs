//! The identifier of a logical database.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Identifier of the logical database. Only peers with the same id meet and sync (API-006).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(Uuid);

/// The text is not a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("database id `{0}` is not a UUID")]
pub struct DatabaseIdError(String);

impl DatabaseId {
    /// The all-zero id that is used when an app names none (API-002). Two apps that use it can meet.
    pub const DEFAULT: DatabaseId = DatabaseId(Uuid::nil());

    /// The 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<[u8; 16]> for DatabaseId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for DatabaseId {
    type Err = DatabaseIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(s).map(Self).map_err(|_| DatabaseIdError(s.chars().take(64).collect()))
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
