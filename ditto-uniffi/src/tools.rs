//! Small services beside an instance: keys, checks, and what helps to find faults.

use std::time::Duration;

use ditto::ErrorKind;

use crate::app::{self, awaited};
use crate::error::DittoError;
use crate::store::Store;
use crate::transport_config::TransportConfig;

/// Makes a shared key for a mesh: a P-256 private key in PKCS#8 DER form. Every device gets the same one, over a channel that
/// you trust.
#[uniffi::export]
pub fn generate_shared_key() -> Vec<u8> {
    ditto::generate_shared_key().to_vec()
}

/// An address of this machine, for people who look for faults.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct InterfaceReport {
    /// Name of the interface.
    pub name: String,
    /// The address.
    pub ip: String,
    /// Whether others may be reached through it: it is up, and neither loopback nor cellular nor point to point.
    pub is_usable: bool,
    /// Why a multicast datagram to this machine does not come back on it; nothing where it does.
    pub multicast_fault: Option<String>,
}

/// The addresses of this machine, and what they are good for. Takes up to 0.2 s for each on which multicast does not work;
/// nothing leaves the machine.
#[uniffi::export]
pub fn interface_reports() -> Result<Vec<InterfaceReport>, DittoError> {
    let reports =
        ditto::interface_reports().map_err(|e| DittoError::new(ErrorKind::of_io(&e), e.to_string()))?;
    Ok(reports
        .into_iter()
        .map(|r| InterfaceReport {
            name: r.name,
            ip: r.ip.to_string(),
            is_usable: r.is_usable,
            multicast_fault: r.multicast.err(),
        })
        .collect())
}

/// The config as JSON text, with the same keys in every language; times in milliseconds.
#[uniffi::export]
pub fn transport_config_to_json(config: TransportConfig) -> Result<String, DittoError> {
    let mut core = ditto::TransportConfig::new();
    config.write_to(&mut core);
    Ok(core.to_json()?)
}

/// The config of a JSON text, of at most 1 MiB. Absent keys stand for the default, unknown keys are ignored.
#[uniffi::export]
pub fn transport_config_from_json(text: String) -> Result<TransportConfig, DittoError> {
    Ok((&ditto::TransportConfig::from_json(&text)?).into())
}

/// What a check of the store found.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct StoreCheckReport {
    /// Documents that are not deleted.
    pub documents: u64,
    /// Deleted documents of which the tombstone is kept.
    pub tombstones: u64,
    /// Deleted documents of which only a gravestone is kept.
    pub gravestones: u64,
    /// Collections that ever held a document.
    pub collections: u64,
    /// Indexes that are complete.
    pub indexes: u64,
    /// Blobs of attachments that are whole.
    pub blobs: u64,
    /// Number of the newest commit.
    pub head: u64,
    /// What does not fit, in words; the first thousand.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

#[uniffi::export]
impl Store {
    /// Recomputes every digest, index entry and sequence number and reports what does not fit. It reads the whole database.
    pub async fn check(&self) -> Result<StoreCheckReport, DittoError> {
        awaited(async {
            let r = self.inner.check().await?;
            Ok(StoreCheckReport {
                documents: r.documents as u64,
                tombstones: r.tombstones as u64,
                gravestones: r.gravestones as u64,
                collections: r.collections as u64,
                indexes: r.indexes as u64,
                blobs: r.blobs as u64,
                head: r.head,
                problems: r.problems,
                problem_count: r.problem_count as u64,
            })
        })
        .await
    }
}

/// Ends all calls into the app: from now on no handler is called and nothing that is awaited goes on. Waits for the calls that
/// run, but at most so many milliseconds; false if one still runs then.
///
/// For bindings, at the end of a process whose interpreter does not survive calls from other threads.
#[uniffi::export]
pub fn end_calls(patience_ms: u64) -> bool {
    app::end(Duration::from_millis(patience_ms))
}
