//! How an instance is opened.

use std::path::PathBuf;

use ditto::ErrorKind;

use crate::error::DittoError;

/// Everything that opening an instance needs. Building it does no I/O; fields are checked at open.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct DittoConfig {
    /// The logical database, a UUID. Only peers with the same id meet and sync.
    pub database_id: String,
    /// How peers are found and admitted.
    pub connect: DittoConfigConnect,
    /// Where data is kept. Relative paths resolve against the default root directory; none means a folder there
    /// that is named after the database.
    pub persistence_directory: Option<String>,
    /// When a commit counts as durable.
    pub durability: Durability,
}

/// How an instance finds and admits peers.
#[derive(Clone, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum DittoConfigConnect {
    /// Peer to peer only; no server is ever contacted.
    SmallPeersOnly {
        /// Shared secret: a P-256 private key in PKCS#8 DER form. With it only peers that hold the same key are
        /// admitted. Without it the mesh is encrypted but open to anybody who knows the database id; for
        /// development.
        private_key: Option<Vec<u8>>,
    },
}

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Durability {
    /// A killed process loses nothing; a power cut may lose the last moments but never corrupts.
    Normal,
    /// A power cut loses nothing that was acknowledged; each commit waits for the disk.
    Full,
}

/// The id that is used when an app names none. Two apps that keep it can meet each other in the mesh.
#[uniffi::export]
pub fn default_database_id() -> String {
    ditto::DittoConfig::default_database_id()
}

/// The directory against which relative and empty persistence paths resolve.
#[uniffi::export]
pub fn default_root_directory() -> String {
    ditto::DittoConfig::default_root_directory().to_string_lossy().into_owned()
}

impl From<DittoConfig> for ditto::DittoConfig {
    fn from(c: DittoConfig) -> Self {
        let DittoConfigConnect::SmallPeersOnly { private_key } = c.connect;
        let mut config = ditto::DittoConfig::new(c.database_id)
            .with_connect(ditto::DittoConfigConnect::SmallPeersOnly { private_key })
            .with_durability(match c.durability {
                Durability::Normal => ditto::Durability::Normal,
                Durability::Full => ditto::Durability::Full,
            });
        config.persistence_directory = c.persistence_directory.map(PathBuf::from);
        config
    }
}

impl TryFrom<ditto::DittoConfig> for DittoConfig {
    type Error = DittoError;

    fn try_from(c: ditto::DittoConfig) -> Result<Self, DittoError> {
        let connect = match c.connect {
            ditto::DittoConfigConnect::SmallPeersOnly { private_key } => {
                DittoConfigConnect::SmallPeersOnly { private_key }
            }
            _ => return Err(DittoError::new(ErrorKind::Unsupported, "this way to connect is unknown here")),
        };
        Ok(Self {
            database_id: c.database_id,
            connect,
            persistence_directory: c.persistence_directory.map(|p| p.to_string_lossy().into_owned()),
            durability: match c.durability {
                ditto::Durability::Normal => Durability::Normal,
                ditto::Durability::Full => Durability::Full,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let config = DittoConfig {
            database_id: default_database_id(),
            connect: DittoConfigConnect::SmallPeersOnly { private_key: Some(vec![1, 2]) },
            persistence_directory: Some("data".into()),
            durability: Durability::Full,
        };
        let core = ditto::DittoConfig::from(config.clone());
        assert_eq!(core.persistence_directory, Some(PathBuf::from("data")));
        assert!(DittoConfig::try_from(core).unwrap() == config);
    }
}
