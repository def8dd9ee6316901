//! `ditto keygen`: shared keys and how they are read.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use crate::failure::Failure;
use crate::output;

#[derive(Args)]
pub(crate) struct KeygenArgs {
    /// File to write, readable by its owner only; stdout when absent.
    file: Option<PathBuf>,
}

/// Larger than any P-256 key in PEM form.
const MAX_FILE: usize = 4096;

pub(crate) fn run(args: &KeygenArgs) -> Result<(), Failure> {
    let key = STANDARD.encode(ditto::generate_shared_key().as_slice());
    let Some(path) = &args.file else {
        output::text(&key);
        return Ok(());
    };
    let mut options = OpenOptions::new();
    // Overwriting a key that a mesh uses would lock everybody out.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut f| f.write_all(format!("{key}\n").as_bytes()));
    written.map_err(|e| Failure::environment(format!("{}: {e}", path.display())))
}

/// Reads a shared key: PKCS#8 in base64, PEM or DER form.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = std::fs::read(path).map_err(|e| Failure::environment(format!("{}: {e}", path.display())))?;
    if bytes.len() > MAX_FILE {
        return Err(Failure::usage(format!("{}: too large for a key", path.display())));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(bytes) };
    let body: String = text.lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
    STANDARD.decode(body).map_err(|e| Failure::usage(format!("{}: no key: {e}", path.display())))
}
