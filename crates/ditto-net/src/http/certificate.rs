//! The certificate of an HTTPS listener, which follows its files while it runs.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio_rustls::TlsAcceptor;

use super::TlsFiles;
use crate::error::NetError;
use crate::tls::server_config;

/// Shortest time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What a listener shows to those who connect.
///
/// Certificates are renewed by programs that know nothing of us. The files are looked at when a connection arrives, at most
/// once a second, so an idle listener costs nothing and the first connection after a renewal sees the new certificate.
pub(super) struct Certificate {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    /// Of the files when they were last read, whether they could be used or not.
    stamps: [Option<Stamp>; 2],
    looked: Instant,
    /// Why the files as they are now cannot be used.
    fault: Option<String>,
}

/// What changes with a file.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// A file that replaces another may be of the same age and length.
    inode: u64,
}

impl Certificate {
    /// Reads the files. Blocks.
    pub(super) fn load(files: TlsFiles) -> Result<Self, NetError> {
        let stamps = stamps(&files);
        let acceptor = server_config(&files.certificate, &files.key)?.into();
        let state = State { acceptor, stamps, looked: Instant::now(), fault: None };
        Ok(Self { files, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.state().acceptor.clone()
    }

    /// Whether it is time to look at the files, for the first one who asks.
    pub(super) fn is_due(&self) -> bool {
        let mut state = self.state();
        let due = state.looked.elapsed() >= LOOK;
        if due {
            state.looked = Instant::now();
        }
        due
    }

    /// Follows the files if they have changed. Blocks. Files that cannot be used, as while only one of them is renewed, change
    /// nothing.
    ///
    /// Returns what users should know: why the files cannot be used now, or "ok" when they can be again.
    pub(super) fn look(&self) -> Option<String> {
        let now = stamps(&self.files);
        if self.state().stamps == now {
            return None;
        }
        let read = server_config(&self.files.certificate, &self.files.key);
        let mut state = self.state();
        // Before the reading: what changed since then is seen at the next look.
        state.stamps = now;
        match read {
            Ok(config) => {
                tracing::info!(file = %self.files.certificate.display(), "the certificate has been renewed");
                state.acceptor = config.into();
                state.fault.take().map(|_| "ok".to_owned())
            }
            Err(e) => {
                let fault = format!("the certificate is not renewed: {e}");
                if state.fault.as_ref() == Some(&fault) {
                    return None;
                }
                tracing::warn!("{fault}");
                state.fault = Some(fault.clone());
                Some(fault)
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> [Option<Stamp>; 2] {
    [stamp(&files.certificate), stamp(&files.key)]
}

/// Follows links, which is how some renew.
fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(file).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Stamp { modified: metadata.modified().ok(), len: metadata.len(), inode })
}
