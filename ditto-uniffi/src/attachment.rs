//! Attachments: binary objects that documents refer to, and that travel apart from them.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ditto::{DittoAttachment, DittoAttachmentFetcher, DittoAttachmentToken, ErrorKind};

use crate::app::{App, awaited};
use crate::error::{DittoError, reason};
use crate::observer::report;
use crate::once::Once;
use crate::store::Store;

/// Bytes that are asked of a source at a time.
const PIECE: u32 = 256 << 10;

/// The small reference to an attachment that documents hold.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AttachmentToken {
    /// Hash of the content in 64 lower-case hexadecimal digits, the same on all peers.
    pub id: String,
    /// Length of the content in bytes, at most 1 TiB.
    pub len: u64,
    /// Texts of the app.
    pub metadata: HashMap<String, String>,
}

impl From<&DittoAttachmentToken> for AttachmentToken {
    fn from(token: &DittoAttachmentToken) -> Self {
        let metadata = token.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        Self { id: token.id(), len: token.len(), metadata }
    }
}

impl TryFrom<AttachmentToken> for DittoAttachmentToken {
    type Error = DittoError;

    fn try_from(token: AttachmentToken) -> Result<Self, DittoError> {
        // What does not fit is above the limit, too.
        let len = i64::try_from(token.len).unwrap_or(i64::MAX);
        Ok(Self::new(&token.id, len, token.metadata.into_iter().collect())?)
    }
}

/// The form of a token that documents hold, in CBOR. It fails for a token that is not valid.
#[uniffi::export]
pub fn attachment_token_to_bytes(token: AttachmentToken) -> Result<Vec<u8>, DittoError> {
    Ok(DittoAttachmentToken::try_from(token)?.to_bytes())
}

/// Reads the form of a token that documents hold, in CBOR.
#[uniffi::export]
pub fn attachment_token_from_bytes(data: &[u8]) -> Result<AttachmentToken, DittoError> {
    Ok((&DittoAttachmentToken::try_from(data)?).into())
}

/// The token as JSON text. It fails for a token that is not valid.
#[uniffi::export]
pub fn attachment_token_to_json(token: AttachmentToken) -> Result<String, DittoError> {
    Ok(DittoAttachmentToken::try_from(token)?.to_string())
}

/// Reads JSON text, as a query shows it of an attachment field. The metadata may be missing.
#[uniffi::export]
pub fn attachment_token_from_json(text: String) -> Result<AttachmentToken, DittoError> {
    Ok((&text.parse::<DittoAttachmentToken>()?).into())
}

/// A binary object that is here, all of it. Immutable; named by its content.
///
/// It is kept as long as an object like this lives, or a document here refers to it. What has neither is deleted in the
/// background, after 10 to 20 minutes by default.
#[derive(uniffi::Object)]
pub struct Attachment {
    inner: DittoAttachment,
}

impl Attachment {
    fn new(inner: DittoAttachment) -> Arc<Self> {
        Arc::new(Self { inner })
    }
}

#[allow(
    clippy::len_without_is_empty,
    reason = "an emptiness of its own would say nothing more in other languages"
)]
#[uniffi::export]
impl Attachment {
    /// Hash of the content in hexadecimal digits, the same on all peers.
    pub fn id(&self) -> String {
        self.inner.id()
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Texts of the app, which travel with the token.
    pub fn metadata(&self) -> HashMap<String, String> {
        self.inner.metadata().clone().into_iter().collect()
    }

    /// When it was created, as the app has put it into the metadata under created_at or createdAt.
    pub fn created_at(&self) -> Option<String> {
        self.inner.created_at().map(Into::into)
    }

    /// When it was changed, as the app has put it into the metadata under updated_at or updatedAt.
    pub fn updated_at(&self) -> Option<String> {
        self.inner.updated_at().map(Into::into)
    }

    /// The reference to put into a document.
    pub fn token(&self) -> AttachmentToken {
        (&self.inner.token()).into()
    }

    /// The file that holds the content. It must not be changed, and is there while this object lives.
    pub fn path(&self) -> String {
        self.inner.path().to_string_lossy().into_owned()
    }

    /// The whole content in memory.
    pub async fn data(&self) -> Result<Vec<u8>, DittoError> {
        awaited(async { Ok(self.inner.data().await?) }).await
    }

    /// Opens it for reading from any place.
    pub fn open(&self) -> Result<Arc<AttachmentReader>, DittoError> {
        Ok(Arc::new(AttachmentReader { inner: Mutex::new(self.inner.open()?) }))
    }

    /// Copies the content to a file. Its folder must exist. A file that is there is replaced, at once and only when the copy is
    /// complete.
    pub async fn copy_to(&self, path: String) -> Result<(), DittoError> {
        awaited(async { Ok(self.inner.copy_to(path).await?) }).await
    }
}

/// Reads an attachment from any place. It keeps the attachment while it lives. Its calls block the calling thread.
#[derive(uniffi::Object)]
pub struct AttachmentReader {
    inner: Mutex<ditto::AttachmentReader>,
}

#[uniffi::export]
impl AttachmentReader {
    /// The next bytes, at most so many and never more than 1 MiB; none at the end.
    pub fn read(&self, max: u64) -> Result<Vec<u8>, DittoError> {
        let mut out = vec![0; max.min(1 << 20) as usize];
        let read = self.lock().read(&mut out).map_err(io_error)?;
        out.truncate(read);
        Ok(out)
    }

    /// Goes on at so many bytes from the beginning; past the end there is nothing to read.
    pub fn seek(&self, position: u64) -> Result<(), DittoError> {
        self.lock().seek(SeekFrom::Start(position)).map(drop).map_err(io_error)
    }
}

impl AttachmentReader {
    fn lock(&self) -> std::sync::MutexGuard<'_, ditto::AttachmentReader> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn io_error(e: io::Error) -> DittoError {
    DittoError::new(ErrorKind::Io, e.to_string())
}

/// Where the content of a new attachment comes from, as the app implements it.
#[uniffi::export(with_foreign)]
pub trait AttachmentSource: Send + Sync {
    /// The next bytes, at most so many; none at the end. It may block. An error ends the creation, and nothing is kept.
    fn read(&self, max: u32) -> Result<Vec<u8>, DittoError>;
}

/// A source as the core reads it.
struct Pieces {
    source: App<dyn AttachmentSource>,
    left: io::Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left.position() == self.left.get_ref().len() as u64 {
            let piece =
                self.source.call(|s| s.read(PIECE)).ok_or_else(|| io::Error::other("the process ends"))?;
            let piece = piece.map_err(io::Error::other)?;
            self.left = io::Cursor::new(piece);
        }
        self.left.read(out)
    }
}

/// An attachment that is being made.
///
/// It exists because bytes cross the boundary without a copy per byte only in calls that are not async.
#[derive(uniffi::Object)]
pub struct AttachmentCreation {
    creating: Once<DittoAttachment>,
}

#[uniffi::export]
impl AttachmentCreation {
    /// Makes it, and returns it when all of it is here. May be called once.
    pub async fn completion(&self) -> Result<Arc<Attachment>, DittoError> {
        awaited(async { Ok(Attachment::new(self.creating.run(ErrorKind::AttachmentCreateFailed).await?)) })
            .await
    }
}

/// When a fetch gives up by itself. By default it never does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct AttachmentFetchOptions {
    /// Milliseconds after which it fails when it is not here.
    pub timeout_ms: Option<u64>,
    /// It ends as deleted when other peers are there, all that can be asked were, and none has had any of it for so many
    /// milliseconds; at least 3,000.
    pub unavailable_after_ms: Option<u64>,
}

impl From<AttachmentFetchOptions> for ditto::AttachmentFetchOptions {
    fn from(o: AttachmentFetchOptions) -> Self {
        let duration = |ms: Option<u64>| ms.map(Duration::from_millis);
        Self { timeout: duration(o.timeout_ms), unavailable_after: duration(o.unavailable_after_ms) }
    }
}

/// What happens to a fetch: progress, as often as it likes, then exactly one of the others.
#[derive(Clone, uniffi::Enum)]
pub enum AttachmentFetchEvent {
    /// More of it is here.
    Progress {
        /// Bytes that are here.
        downloaded_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// All of it is here.
    Completed {
        /// The attachment.
        attachment: Arc<Attachment>,
    },
    /// It was not fetched. What has arrived is kept for the next fetch, for a while.
    Failed {
        /// Text for people.
        reason: String,
        /// Stable code, as of errors.
        code: String,
    },
    /// The app has cancelled it, or closed the instance.
    Cancelled,
    /// Nobody who can be asked has it. Only with the option for it.
    Deleted,
}

impl From<ditto::AttachmentFetchEvent> for AttachmentFetchEvent {
    fn from(event: ditto::AttachmentFetchEvent) -> Self {
        use ditto::AttachmentFetchEvent as Event;
        match event {
            Event::Progress { downloaded_bytes, total_bytes } => {
                Self::Progress { downloaded_bytes, total_bytes }
            }
            Event::Completed { attachment } => Self::Completed { attachment: Attachment::new(attachment) },
            Event::Failed { error } => {
                Self::Failed { reason: reason(&error), code: error.kind().code().to_owned() }
            }
            Event::Cancelled => Self::Cancelled,
            Event::Deleted => Self::Deleted,
        }
    }
}

/// What an app implements to follow a fetch.
///
/// Calls come on a thread of the library, in order and never two at a time. Return quickly.
#[uniffi::export(with_foreign)]
pub trait AttachmentFetchHandler: Send + Sync {
    /// Takes the next event. An error is logged and has no other effect.
    fn on_event(&self, event: AttachmentFetchEvent) -> Result<(), DittoError>;
}

/// A running fetch. Freeing it ends nothing.
#[derive(uniffi::Object)]
pub struct AttachmentFetcher {
    inner: DittoAttachmentFetcher,
}

#[uniffi::export]
impl AttachmentFetcher {
    /// What is fetched.
    pub fn token(&self) -> AttachmentToken {
        self.inner.token().into()
    }

    /// Bytes that are here.
    pub fn bytes_downloaded(&self) -> u64 {
        self.inner.bytes_downloaded()
    }

    /// Bytes in all.
    pub fn total_bytes(&self) -> u64 {
        self.inner.total_bytes()
    }

    /// The fraction that is here, from 0 to 1.
    pub fn progress(&self) -> f64 {
        self.inner.progress()
    }

    /// Whether all of it is here: not after a failure, nor when it was cancelled.
    pub fn is_completed(&self) -> bool {
        self.inner.is_completed()
    }

    /// Whether it has ended, in any way.
    pub fn is_ended(&self) -> bool {
        self.inner.is_ended()
    }

    /// Ends it. Its handler gets the event for it, unless it has ended before. Repeating is harmless.
    pub fn cancel(&self) {
        self.inner.cancel();
    }
}

/// Who has an attachment, or some of it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AttachmentHolder {
    /// Key of the peer.
    pub peer_key: String,
    /// Whether it has all of it.
    pub is_complete: bool,
    /// How many connections away it is: 1 for a neighbour.
    pub hops: u8,
}

#[uniffi::export]
impl Store {
    /// Keeps a copy of a file as an attachment. Put its token into a document; the metadata travels with the token.
    ///
    /// On an error nothing is left behind.
    pub async fn new_attachment(
        &self,
        path: String,
        metadata: HashMap<String, String>,
    ) -> Result<Arc<Attachment>, DittoError> {
        awaited(async {
            let made = self.inner.new_attachment(path, metadata.into_iter().collect()).await?;
            Ok(Attachment::new(made))
        })
        .await
    }

    /// Prepares an attachment of bytes. Nothing is kept before the completion of the returned object is awaited.
    pub fn new_attachment_from_bytes(
        &self,
        data: &[u8],
        metadata: HashMap<String, String>,
    ) -> Arc<AttachmentCreation> {
        let (store, data, metadata) = (self.inner.clone(), data.to_vec(), metadata.into_iter().collect());
        let creating = async move { store.new_attachment_from_bytes(data, metadata).await };
        Arc::new(AttachmentCreation { creating: Once::new(creating) })
    }

    /// Makes an attachment of what a source gives until its end. It is never in memory as a whole.
    pub async fn new_attachment_from_source(
        &self,
        source: Arc<dyn AttachmentSource>,
        metadata: HashMap<String, String>,
    ) -> Result<Arc<Attachment>, DittoError> {
        awaited(async {
            let pieces = Pieces { source: App::new(source), left: io::Cursor::default() };
            let made = self.inner.new_attachment_from_reader(pieces, metadata.into_iter().collect()).await?;
            Ok(Attachment::new(made))
        })
        .await
    }

    /// Begins to fetch an attachment from whoever has it, and tells the handler what happens: progress, then exactly one
    /// event that ends it. One that is here already is completed soon.
    ///
    /// It survives disconnections and goes on where it was, also in another run of the app.
    pub fn fetch_attachment(
        &self,
        token: AttachmentToken,
        options: AttachmentFetchOptions,
        handler: Arc<dyn AttachmentFetchHandler>,
    ) -> Result<Arc<AttachmentFetcher>, DittoError> {
        let token = DittoAttachmentToken::try_from(token)?;
        let handler = App::new(handler);
        let handler = move |event: ditto::AttachmentFetchEvent| {
            report(handler.call(|h| h.on_event(event.into())));
        };
        let inner = self.inner.fetch_attachment_with_options(token, options.into(), handler)?;
        Ok(Arc::new(AttachmentFetcher { inner }))
    }

    /// The fetches that run now.
    pub fn attachment_fetchers(&self) -> Vec<Arc<AttachmentFetcher>> {
        let running = self.inner.attachment_fetchers();
        running.into_iter().map(|inner| Arc::new(AttachmentFetcher { inner })).collect()
    }

    /// The attachment of a token, if all of it is here.
    pub fn attachment(&self, token: AttachmentToken) -> Result<Option<Arc<Attachment>>, DittoError> {
        let token = DittoAttachmentToken::try_from(token)?;
        Ok(self.inner.attachment(token)?.map(Attachment::new))
    }

    /// Asks the mesh who has an attachment, and waits so many milliseconds for the answers: at most 32, of peers up to eight
    /// connections away. Nothing is fetched.
    pub async fn attachment_holders(
        &self,
        token: AttachmentToken,
        patience_ms: u64,
    ) -> Result<Vec<AttachmentHolder>, DittoError> {
        awaited(async {
            let token = DittoAttachmentToken::try_from(token)?;
            let found = self.inner.attachment_holders(token, Duration::from_millis(patience_ms)).await?;
            let holder = |h: ditto::AttachmentHolder| AttachmentHolder {
                peer_key: h.peer.to_string(),
                is_complete: h.is_complete,
                hops: h.hops,
            };
            Ok(found.into_iter().map(holder).collect())
        })
        .await
    }

    /// Deletes the attachments without object and without a document here that refers to them, if the run before found them so
    /// too. It also runs by itself. Returns how many went.
    pub async fn collect_attachments(&self) -> Result<u64, DittoError> {
        awaited(async { Ok(self.inner.collect_attachments().await? as u64) }).await
    }
}
