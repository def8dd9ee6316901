//! Files of a folder.

use std::io;
use std::path::PathBuf;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use tower_http::services::ServeDir;

use crate::error::NetError;

/// The one name with a dot that is served (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// A folder whose files are served: `index.html` for a folder, no listings, and nothing above it. Links in the file system
/// are followed, as whoever puts them there means it.
pub(super) struct Files {
    service: ServeDir,
}

impl Files {
    /// Fails when the folder is not there. Its content may come and go.
    pub(super) fn open(path: PathBuf) -> Result<Self, NetError> {
        match std::fs::read_dir(&path) {
            Ok(_) => Ok(Self { service: ServeDir::new(path) }),
            Err(source) => Err(NetError::StaticContent { path, source }),
        }
    }

    pub(super) async fn answer(&self, request: Request) -> Response {
        if is_hidden(request.uri().path()) {
            return (StatusCode::NOT_FOUND, "not found\n").into_response();
        }
        match self.service.clone().try_call(request).await {
            Ok(mut response) => {
                let nosniff = HeaderValue::from_static("nosniff");
                response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
                response.into_response()
            }
            Err(e) if is_about_the_name(&e) => (StatusCode::NOT_FOUND, "not found\n").into_response(),
            Err(e) => {
                tracing::warn!(error = %e, "serve a file");
                (StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n").into_response()
            }
        }
    }
}

/// Whether there is no such file, or none that we may read, as far as the other side should know.
fn is_about_the_name(e: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        e.kind(),
        K::NotFound
            | K::PermissionDenied
            | K::NotADirectory
            | K::IsADirectory
            | K::InvalidInput
            | K::InvalidFilename
    )
}

/// Whether a part of the path begins with a dot: `..`, and what is not meant to be seen, as `.git`.
fn is_hidden(path: &str) -> bool {
    let path: Vec<u8> = percent_decode_str(path).collect();
    path.split(|b| matches!(b, b'/' | b'\\')).any(|part| part.first() == Some(&b'.') && part != WELL_KNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_dot_are_hidden_however_they_are_written() {
        for path in
            ["/..", "/a/../b", "/%2e%2e/b", "/.git/config", "/a/%2Eenv", "/..%2f..%2fetc", "/a\\..\\b"]
        {
            assert!(is_hidden(path), "{path}");
        }
        for path in ["/", "/a.b", "/a/b..c", "/.well-known/x", "//"] {
            assert!(!is_hidden(path), "{path}");
        }
    }
}
