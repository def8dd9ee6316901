//! Directories for the time of a test.

use tempfile::TempDir;

/// A new empty directory that goes away with the value.
///
/// # Panics
/// When the system's place for temporary files cannot be written to.
pub fn temp_dir() -> TempDir {
    tempfile::Builder::new().prefix("ditto-test-").tempdir().expect("a writable temporary directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_differ_and_go_away() {
        let (a, b) = (temp_dir(), temp_dir());
        assert_ne!(a.path(), b.path());
        let path = a.path().to_owned();
        std::fs::write(path.join("file"), b"content").unwrap();
        drop(a);
        assert!(!path.exists() && b.path().exists());
    }
}
