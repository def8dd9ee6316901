//! How an instance is opened.

use std::path::{Path, PathBuf};

use ditto_types::{DatabaseId, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::DittoError;

/// Everything that [`Ditto::open`](crate::Ditto::open) needs. A plain value: building it does no I/O, and
/// fields are validated at open (API-005).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DittoConfig {
    /// The logical database, a UUID. Only peers with the same id meet and sync. Two apps that keep the
    /// default id can meet each other in the mesh.
    pub database_id: String,
    /// How peers are found and admitted.
    pub connect: DittoConfigConnect,
    /// Where data is kept. Relative paths resolve against [`DittoConfig::default_root_directory`]; none means
    /// `ditto-<database id>` there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence_directory: Option<PathBuf>,
    /// When a commit counts as durable.
    #[serde(default)]
    pub durability: Durability,
}

/// How an instance finds and admits peers (API-015).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DittoConfigConnect {
    /// Peer to peer only; no server is ever contacted (API-018).
    SmallPeersOnly {
        /// Shared secret: a P-256 private key in PKCS#8 DER form. With it only peers that hold the same key are
        /// admitted. Without it the mesh is open: still encrypted, but anybody with the database id may join;
        /// for development.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        private_key: Option<Vec<u8>>,
    },
}

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A killed process loses nothing; a power cut may lose the last moments but never corrupts.
    #[default]
    Normal,
    /// A power cut loses nothing that was acknowledged; each commit waits for the disk.
    Full,
}

impl DittoConfig {
    /// A config for `database_id` without a shared key.
    pub fn new(database_id: impl Into<String>) -> Self {
        Self {
            database_id: database_id.into(),
            connect: DittoConfigConnect::SmallPeersOnly { private_key: None },
            persistence_directory: None,
            durability: Durability::Normal,
        }
    }

    /// The id that is used when an app names none (API-002).
    pub fn default_database_id() -> String {
        DatabaseId::DEFAULT.to_string()
    }

    /// The id of the database whose documents a directory holds, for tools that are given only the directory; `None`
    /// when there are none yet. Relative paths resolve as those of `persistence_directory` do.
    ///
    /// Fails as [`Ditto::open`](crate::Ditto::open) does for a directory that is in use or damaged.
    pub fn database_id_in(directory: impl AsRef<Path>) -> Result<Option<String>, DittoError> {
        let directory = Self::default_root_directory().join(directory);
        Ok(ditto_store::Store::database_in(&directory)?.map(|id| id.to_string()))
    }

    /// The directory against which relative and empty persistence paths resolve: on macOS
    /// `~/Library/Application Support/Ditto`, elsewhere the working directory (API-003).
    pub fn default_root_directory() -> PathBuf {
        #[cfg(target_os = "macos")]
        if let Some(home) = std::env::home_dir() {
            return home.join("Library/Application Support/Ditto");
        }
        std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
    }

    /// Sets how peers are found and admitted.
    pub fn with_connect(mut self, connect: DittoConfigConnect) -> Self {
        self.connect = connect;
        self
    }

    /// Sets the database id.
    pub fn with_database_id(mut self, id: impl Into<String>) -> Self {
        self.database_id = id.into();
        self
    }

    /// Sets where data is kept.
    pub fn with_persistence_directory(mut self, dir: impl Into<PathBuf>) -> Self {
        self.persistence_directory = Some(dir.into());
        self
    }

    /// Sets when a commit counts as durable.
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    pub(crate) fn parse_database_id(&self) -> Result<DatabaseId, DittoError> {
        self.database_id
            .parse()
            .map_err(|e| DittoError::new(ErrorKind::InvalidConfig, format!("database_id: {e}")))
    }

    pub(crate) fn resolve_directory(&self, id: &DatabaseId) -> PathBuf {
        let default = PathBuf::from(format!("ditto-{id}"));
        let dir = self.persistence_directory.as_deref().filter(|d| *d != Path::new("")).unwrap_or(&default);
        Self::default_root_directory().join(dir)
    }

    /// A copy without secrets (API-031).
    pub(crate) fn redacted(&self) -> Self {
        let mut out = self.clone();
        let DittoConfigConnect::SmallPeersOnly { private_key } = &mut out.connect;
        if let Some(key) = private_key {
            *key = b"[REDACTED]".to_vec();
        }
        out
    }
}

impl Default for DittoConfig {
    /// The default id, no shared key, the default directory: a convenience for development (API-010).
    fn default() -> Self {
        Self::new(Self::default_database_id())
    }
}

impl std::fmt::Debug for DittoConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DittoConfigConnect::SmallPeersOnly { private_key } = &self.connect;
        f.debug_struct("DittoConfig")
            .field("database_id", &self.database_id)
            .field("private_key", &private_key.as_ref().map(|_| "[REDACTED]"))
            .field("persistence_directory", &self.persistence_directory)
            .field("durability", &self.durability)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_show() {
        let connect = DittoConfigConnect::SmallPeersOnly { private_key: Some(b"secret".to_vec()) };
        let config = DittoConfig::default().with_connect(connect);
        assert!(!format!("{config:?}").contains("secret"));
        assert!(!serde_json::to_string(&config.redacted()).unwrap().contains("115"));
    }

    #[test]
    fn round_trips_as_json() {
        let config = DittoConfig::default().with_persistence_directory("/tmp/x");
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""databaseId""#) && text.contains(r#""small_peers_only""#), "{text}");
        assert_eq!(serde_json::from_str::<DittoConfig>(&text).unwrap(), config);
    }

    #[test]
    fn paths_resolve_against_the_root() {
        let id = DatabaseId::DEFAULT;
        let root = DittoConfig::default_root_directory();
        assert_eq!(DittoConfig::default().resolve_directory(&id), root.join(format!("ditto-{id}")));
        let at = |d: &str| DittoConfig::default().with_persistence_directory(d).resolve_directory(&id);
        assert_eq!(at(""), root.join(format!("ditto-{id}")));
        assert_eq!(at("rel"), root.join("rel"));
        assert_eq!(at("/abs"), PathBuf::from("/abs"));
    }
}
