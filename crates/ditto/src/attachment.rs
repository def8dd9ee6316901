//! Attachments: binary objects that documents refer to, and that travel apart from them.
//!
//! | module | owns |
//! |---|---|
//! | `token` | [`DittoAttachmentToken`], the reference |
//! | `fetcher` | [`DittoAttachmentFetcher`], its events and options |
//! | `exchange` | the thread that runs the exchange of blobs on the store |
//! | `port` | its lines inside the network task |

pub(crate) mod exchange;
mod fetcher;
pub(crate) mod port;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ditto_store::{Blob, BlobReader};
use ditto_sync::blob::{BlobHolder, BlobInput, BlobName};
use ditto_types::ErrorKind;
use tokio::sync::oneshot;

use self::exchange::ToBlobs;
pub use self::fetcher::{AttachmentFetchEvent, AttachmentFetchOptions, DittoAttachmentFetcher};
pub(crate) use self::fetcher::{Fetches, fetch};
pub use self::token::DittoAttachmentToken;
use crate::instance::Inner;
use crate::runtime::blocking;
use crate::{DittoError, PeerKey};

/// A binary object that is here, all of it (API-317). Immutable; named by its content, so the same bytes have the same id on
/// all peers.
///
/// It is kept as long as a handle like this lives, or a document here refers to it. What has neither is deleted in the
/// background, after 10 to 20 minutes by default (setting `attachment_gc_interval_seconds`; API-378).
#[derive(Clone)]
pub struct DittoAttachment {
    blob: Blob,
    metadata: Arc<BTreeMap<String, String>>,
}

/// Who has an attachment, or some of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentHolder {
    /// Which peer.
    pub peer: PeerKey,
    /// Whether it has all of it.
    pub is_complete: bool,
    /// How many connections away it is: 1 for a neighbour.
    pub hops: u8,
}

/// Reads an attachment from any place (API-329). Keeps it while it lives.
pub struct AttachmentReader(BlobReader);

impl DittoAttachment {
    pub(crate) fn new(blob: Blob, metadata: BTreeMap<String, String>) -> Self {
        Self { blob, metadata: Arc::new(metadata) }
    }

    /// Hash of the content in hexadecimal digits (API-324).
    pub fn id(&self) -> String {
        self.blob.id().to_string()
    }

    /// Length in bytes (API-325).
    pub fn len(&self) -> u64 {
        self.blob.len()
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.blob.is_empty()
    }

    /// Texts of the app (API-327).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// When it was created, as the app has put it into the metadata under `created_at` or `createdAt` (API-319).
    pub fn created_at(&self) -> Option<&str> {
        self.text(["created_at", "createdAt"])
    }

    /// When it was changed, as the app has put it into the metadata under `updated_at` or `updatedAt` (API-320).
    pub fn updated_at(&self) -> Option<&str> {
        self.text(["updated_at", "updatedAt"])
    }

    fn text(&self, names: [&str; 2]) -> Option<&str> {
        names.into_iter().find_map(|n| self.metadata.get(n)).map(String::as_str)
    }

    /// The reference that documents hold (API-330).
    pub fn token(&self) -> DittoAttachmentToken {
        DittoAttachmentToken {
            id: self.blob.id(),
            len: self.blob.len(),
            metadata: BTreeMap::clone(&self.metadata),
        }
    }

    /// The file that holds the content (API-328). It must not be changed, and is there while this handle lives.
    pub fn path(&self) -> PathBuf {
        self.blob.path()
    }

    /// The whole content in memory (API-321).
    pub async fn data(&self) -> Result<Vec<u8>, DittoError> {
        let blob = self.blob.clone();
        blocking(move || Ok(blob.data()?)).await
    }

    /// Opens it for reading from any place (API-329). Reading blocks.
    pub fn open(&self) -> Result<AttachmentReader, DittoError> {
        Ok(AttachmentReader(self.blob.open()?))
    }

    /// Copies the content to a file (API-318). Its folder must exist. A file that is there is replaced, at once and only when
    /// the copy is complete: a failure leaves it as it was.
    pub async fn copy_to(&self, path: impl Into<PathBuf>) -> Result<(), DittoError> {
        let (blob, path) = (self.blob.clone(), path.into());
        blocking(move || Ok(blob.copy_to_path(&path)?)).await
    }
}

impl fmt::Debug for DittoAttachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DittoAttachment({}, {} bytes)", self.id(), self.len())
    }
}

/// Equal when content and metadata are.
impl PartialEq for DittoAttachment {
    fn eq(&self, other: &Self) -> bool {
        self.token() == other.token()
    }
}

impl Eq for DittoAttachment {}

impl Read for AttachmentReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Seek for AttachmentReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// Where the content of a new attachment comes from.
pub(crate) enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
    Reader(Box<dyn Read + Send>),
}

pub(crate) async fn create(
    inner: &Arc<Inner>,
    source: Source,
    metadata: BTreeMap<String, String>,
) -> Result<DittoAttachment, DittoError> {
    let store = inner.store()?;
    let blob = blocking(move || {
        let blobs = store.blobs()?;
        match source {
            Source::Path(path) => {
                can_read(&path)?;
                blobs.create_from_path(&path)
            }
            Source::Bytes(bytes) => blobs.create_from_bytes(&bytes),
            Source::Reader(reader) => blobs.create_from_reader(reader),
        }
        .map_err(|e| creation_error(e.into()))
    })
    .await?;
    let name = BlobName { id: blob.id(), len: blob.len() };
    // Whoever waits for it is told.
    let _ = inner.node.blob_sender().send(ToBlobs::Exchange(BlobInput::Appeared { name }));
    Ok(DittoAttachment::new(blob, metadata))
}

/// The attachment of a token, if it is here.
pub(crate) fn local(
    inner: &Arc<Inner>,
    token: DittoAttachmentToken,
) -> Result<Option<DittoAttachment>, DittoError> {
    let blob = inner.store()?.blobs()?.get(token.id, token.len);
    Ok(blob.map(|blob| DittoAttachment::new(blob, token.metadata)))
}

/// Asks the mesh who has it.
pub(crate) async fn holders(
    inner: &Arc<Inner>,
    token: DittoAttachmentToken,
    patience: Duration,
) -> Result<Vec<AttachmentHolder>, DittoError> {
    let (reply, answer) = oneshot::channel();
    let name = BlobName { id: token.id, len: token.len };
    let question = ToBlobs::Locate { name, patience, reply };
    inner.node.blob_sender().send(question).map_err(|_| DittoError::closed())?;
    let holders = answer.await.map_err(|_| DittoError::closed())?;
    let holder = |h: BlobHolder| {
        let peer = PeerKey::from_bytes(&h.peer.0).ok()?;
        Some(AttachmentHolder { peer, is_complete: h.whole, hops: h.hops })
    };
    Ok(holders.into_iter().filter_map(holder).collect())
}

/// Tells a fault of the app's file from one of the store.
fn can_read(path: &Path) -> Result<(), DittoError> {
    let Err(e) = std::fs::File::open(path) else { return Ok(()) };
    let kind = match e.kind() {
        io::ErrorKind::NotFound => ErrorKind::AttachmentFileNotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::AttachmentFilePermissionDenied,
        _ => ErrorKind::AttachmentCreateFailed,
    };
    Err(DittoError::with_source(kind, format!("cannot read {}", path.display()), e))
}

/// No space and a length above the limit say what to do; everything else is that it could not be made.
fn creation_error(e: DittoError) -> DittoError {
    match e.kind() {
        ErrorKind::StoreFull | ErrorKind::SizeLimitExceeded | ErrorKind::Closed => e,
        _ => DittoError::with_source(ErrorKind::AttachmentCreateFailed, "the attachment was not made", e),
    }
}
