//! The peer key of an instance: a file beside the database, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use ditto_mesh::Identity;
use ditto_types::ErrorKind;
use zeroize::Zeroizing;

use crate::DittoError;

const FILE: &str = "peer_key.der";

/// Larger than any P-256 key in PKCS#8 form.
const MAX_BYTES: u64 = 1024;

/// Loads the key of the directory, or makes one. The caller holds the directory's lock.
pub(crate) fn load_or_create(directory: &Path) -> Result<Identity, DittoError> {
    let path = directory.join(FILE);
    let fail = |what: &str, kind, e: &dyn std::fmt::Display| {
        DittoError::new(kind, format!("cannot {what} the peer key {}: {e}", path.display()))
    };
    let fail_io = |what: &str, e: &io::Error| fail(what, ErrorKind::of_io(e), e);
    match File::open(&path) {
        Ok(file) => {
            let mut der = Zeroizing::new(Vec::new());
            file.take(MAX_BYTES).read_to_end(&mut der).map_err(|e| fail_io("read", &e))?;
            Identity::from_pkcs8_der(&der).map_err(|e| fail("use", ErrorKind::Io, &e))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let identity = Identity::generate(&mut crate::random::fill);
            write_private(directory, &path, &identity.to_pkcs8_der()).map_err(|e| fail_io("write", &e))?;
            Ok(identity)
        }
        Err(e) => Err(fail_io("open", &e)),
    }
}

/// Makes a shared key for [`DittoConfigConnect::SmallPeersOnly`](crate::DittoConfigConnect::SmallPeersOnly): a P-256
/// private key in PKCS#8 DER form. Every device of the mesh gets the same one, over a channel that you trust.
pub fn generate_shared_key() -> Zeroizing<Vec<u8>> {
    Identity::generate(&mut crate::random::fill).to_pkcs8_der()
}

/// Writes a file that appears complete or not at all, with mode 0600 from the first byte on.
fn write_private(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persists_with_owner_only_mode() {
        let dir = tempfile::tempdir().unwrap();
        let a = load_or_create(dir.path()).unwrap();
        let b = load_or_create(dir.path()).unwrap();
        assert_eq!(a.peer_key(), b.peer_key());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"not a key").unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), b"not a key");
    }
}
