//! An embedded document database that syncs peer to peer, with or without internet: the Rust SDK.
//!
//! Open a [`Ditto`], write documents with DQL, register subscriptions for what you want from others and observers for
//! what you show. Devices of the same database find each other on the local network and keep the subscribed
//! documents converged.
//!
//! ```
//! use ditto::{Ditto, DittoConfig, DittoError};
//!
//! async fn example(directory: std::path::PathBuf) -> Result<(), DittoError> {
//!     let config = DittoConfig::new("6f1d1c9e-2f4b-4c39-a9f0-8c3d7c2f5a11").with_persistence_directory(directory);
//!     let ditto = Ditto::open(config).await?;
//!
//!     // What this device wants from others, and what it shows.
//!     ditto.sync().register_subscription("SELECT * FROM cars WHERE color = 'blue'")?;
//!     let observer = ditto.store().register_observer("SELECT * FROM cars ORDER BY mileage", |cars| {
//!         for car in cars.items() {
//!             tracing::info!("{}", car.json_string());
//!         }
//!     })?;
//!     ditto.sync().start().await?;
//!
//!     let car = serde_json::json!({ "_id": "123", "color": "blue", "mileage": 3001 });
//!     ditto.store().execute(("INSERT INTO cars DOCUMENTS (:car)", serde_json::json!({ "car": car }))).await?;
//!     let result = ditto.store().execute(("SELECT mileage FROM cars WHERE _id = :id", [("id", "123")].into_iter().collect::<std::collections::BTreeMap<_, _>>())).await?;
//!     assert_eq!(result.item_count(), 1);
//!     assert_eq!(result.values()[0].get("mileage").and_then(|v| v.as_i64()), Some(3001));
//!
//!     // Several statements that apply together or not at all.
//!     use ditto::TransactionCompletionAction::Commit;
//!     ditto
//!         .store()
//!         .transaction(async |txn| {
//!             txn.execute("UPDATE cars SET mileage = 3002 WHERE _id = '123'").await?;
//!             txn.execute("INSERT INTO log DOCUMENTS ({ 'car': '123', 'mileage': 3002 })").await?;
//!             Ok(Commit)
//!         })
//!         .await?;
//!
//!     observer.cancel();
//!     ditto.close().await
//! }
//! # let dir = tempfile::tempdir().unwrap();
//! # let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # rt.block_on(example(dir.path().to_path_buf())).unwrap();
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `instance` | [`Ditto`]: opening, closing and the parts |
//! | `config`, `transport_config` | [`DittoConfig`], [`TransportConfig`] |
//! | `transports` | what mesh and network run for a transport config |
//! | [`radio`] | drivers of the platform for Bluetooth and the like |
//! | `store`, `transaction`, `executor`, `observer`, `query`, `result`, `differ` | local data |
//! | `differ` | [`Differ`]: what changed between two results |
//! | `attachment` | attachments: making, fetching, reading them |
//! | `sync`, `presence`, `connection_request`, `diagnostics`, `experimental`, `bus` | the mesh, from the app's side |
//! | `control`, `feed` | what the app said about connections and what happened to them |
//! | `node`, `replication`, `sync_store`, `system` | the task and the thread that run the machines; what `system:` collections tell of them |
//! | `identity`, `random`, `runtime`, `callback_gate` | what they stand on |

#![deny(missing_docs)]

mod attachment;
mod bus;
mod callback_gate;
mod config;
mod connection_request;
mod control;
mod diagnostics;
mod differ;
mod error;
mod executor;
mod experimental;
mod feed;
mod identity;
mod instance;
mod node;
mod observer;
mod presence;
mod query;
pub mod radio;
mod random;
mod replication;
mod result;
mod runtime;
mod store;
mod sync;
mod sync_store;
mod system;
mod transaction;
mod transport_config;
mod transports;
#[doc(hidden)]
pub mod wiring;

pub use attachment::{
    AttachmentFetchEvent, AttachmentFetchOptions, AttachmentHolder, AttachmentReader, DittoAttachment,
    DittoAttachmentFetcher, DittoAttachmentToken,
};
pub use bus::{
    Bus, BusDelegate, BusExecutor, BusMessage, BusMessages, BusStream, BusStreamDelegate, Delivery,
    IncomingStreams, StreamEnd, StreamFailure, StreamStats,
};
pub use config::{DittoConfig, DittoConfigConnect, Durability};
pub use connection_request::{ConnectionRequest, ConnectionRequestAuthorization, ConnectionRequestHandler};
pub use diagnostics::{ConnectionEvents, ConnectionRecord};
pub use differ::{Diff, DiffMove, Differ};
pub use ditto_bus::Reliability;
pub use ditto_mesh::transport::{DialTarget, LinkKind as ConnectionType, Role};
pub use ditto_mesh::{
    ConnectionEvent, ConnectionPriority, PeerKey, PeerSelector, PresenceConnection, PresenceGraph,
    PresencePeer, Refusal, TransportDiagnostics, TransportPeer, TransportSnapshot,
};
pub use ditto_net::{InterfaceReport, interface_reports, multicast_available};
pub use ditto_store::{Cancellation, CheckReport};
pub use ditto_sync::{PeerSyncStatus, SyncProgress, SyncState};
pub use ditto_types as types;
pub use error::{DittoError, ErrorKind, Position};
pub use executor::QueryExecutor;
pub use experimental::Experimental;
pub use identity::generate_shared_key;
pub use instance::Ditto;
pub use node::MeshEvent;
pub use observer::{SignalNext, StoreObserver};
pub use presence::{MAX_PEER_METADATA_BYTES, Presence, PresenceObserver};
pub use query::{IntoQuery, Query};
pub use radio::RadioTransport;
pub use result::{QueryResult, QueryResultItem};
pub use store::Store;
pub use sync::{MeshEvents, SubscriptionOptions, Sync, SyncSubscription};
pub use transaction::{Transaction, TransactionCompletionAction, TransactionInfo, TransactionOptions};
pub use transport_config::{
    AwdlConfig, BluetoothLeConfig, Connect, Global, HttpListenConfig, LanConfig, Listen, PeerToPeer,
    TcpListenConfig, TransportConfig, WifiAwareConfig,
};
