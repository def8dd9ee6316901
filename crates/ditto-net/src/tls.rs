//! The TLS of the web: that of `wss://` and `https://`. The TLS between peers is the mesh's.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::error::NetError;

/// Certificates in one file.
const MAX_CERTIFICATES: usize = 32;
const HTTP_1: &[u8] = b"http/1.1";

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Longest text of root certificates, in bytes.
const MAX_ROOTS_TEXT: usize = 256 << 10;

/// The certificates in PEM text, in DER form, each of which can be trusted as a root.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse_root_certificates(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    if pem.len() > MAX_ROOTS_TEXT {
        return Err(format!("{} bytes, the limit is {MAX_ROOTS_TEXT}", pem.len()));
    }
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).take(MAX_CERTIFICATES + 1);
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    if found.is_empty() || found.len() > MAX_CERTIFICATES {
        return Err(format!("{} certificates in PEM form, not 1 to {MAX_CERTIFICATES}", found.len()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        roots.add(certificate.clone()).map_err(|e| e.to_string())?;
    }
    Ok(found.iter().map(|c| c.to_vec()).collect())
}

/// For dialling servers whose certificate leads to one of these roots.
pub(crate) fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| e.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    Ok(Arc::new(config))
}

/// For a listener with this certificate and key. Reads files.
pub(crate) fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, NetError> {
    let fault = |is_key: bool, reason: String| {
        let path = if is_key { key } else { certificate };
        NetError::TlsFile { path: path.to_owned(), is_key, reason }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|chain| chain.take(MAX_CERTIFICATES + 1).collect::<Result<Vec<_>, _>>())
        .map_err(|e| fault(false, e.to_string()))?;
    if chain.is_empty() || chain.len() > MAX_CERTIFICATES {
        return Err(fault(
            false,
            format!("it has {} certificates, not 1 to {MAX_CERTIFICATES}", chain.len()),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| fault(true, e.to_string()))?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| fault(false, e.to_string()))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| fault(!matches!(e, rustls::Error::InvalidCertificate(_)), e.to_string()))?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    Ok(Arc::new(config))
}
