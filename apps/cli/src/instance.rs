//! Opens the database that the arguments name.

use ditto::{Ditto, DittoConfig, DittoConfigConnect, Durability};
use tempfile::TempDir;

use crate::cli::DatabaseArgs;
use crate::failure::Failure;

/// Name that stands for a throw-away directory.
const TEMPORARY: &str = ":temp:";

/// An open database. A throw-away directory lives as long as it.
pub(crate) struct Instance {
    pub(crate) ditto: Ditto,
    _directory: Option<TempDir>,
}

impl Instance {
    pub(crate) async fn open(args: &DatabaseArgs, shared_key: Option<Vec<u8>>) -> Result<Self, Failure> {
        let mut config = DittoConfig::default()
            .with_connect(DittoConfigConnect::SmallPeersOnly { private_key: shared_key })
            .with_durability(if args.durable { Durability::Full } else { Durability::Normal });
        let directory = if args.dir.as_os_str() == TEMPORARY {
            let temporary = tempfile::Builder::new().prefix("ditto-").tempdir();
            Some(
                temporary
                    .map_err(|e| Failure::environment(format!("cannot make a temporary directory: {e}")))?,
            )
        } else {
            None
        };
        let path = directory.as_ref().map_or(args.dir.as_path(), |d| d.path());
        let id = match &args.database_id {
            Some(id) => Some(id.clone()),
            None => DittoConfig::database_id_in(path)?,
        };
        if let Some(id) = id {
            config = config.with_database_id(id);
        }
        let ditto = Ditto::open(config.with_persistence_directory(path)).await?;
        Ok(Self { ditto, _directory: directory })
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.ditto.close().await?)
    }
}
