//! TLS by rustls: the bundled root store and the system's, own authorities, client certificates, ALPN.

use std::sync::{Arc, OnceLock};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::settings::{HttpSettings, Protocol};
use crate::error::{Error, ErrorKind};

fn configuration(message: String) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// The roots that every pool trusts. Reading the system's store takes milliseconds, so it is done once a process.
fn common_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // A broken file in the system's store must not stop what the bundled roots can verify.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

fn certificates(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certs: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| configuration(format!("{name} is not valid PEM: {error}")))?;
    if certs.is_empty() {
        return Err(configuration(format!("{name} holds no certificate in PEM form")));
    }
    Ok(certs)
}

/// Checks what the settings hold of certificates and proxy, without reading the system's store.
///
/// # Errors
/// [`ErrorKind::Configuration`] naming what is wrong.
pub fn check(settings: &HttpSettings) -> Result<(), Error> {
    if let Some(pem) = &settings.ca_pem {
        let mut roots = RootCertStore::empty();
        for cert in certificates(pem, "the CA certificate")? {
            roots.add(cert).map_err(|error| configuration(format!("the CA certificate cannot be used: {error}")))?;
        }
    }
    if let Some(pem) = &settings.client_pem {
        certificates(pem, "the client certificate")?;
        private_key(pem)?;
    }
    Ok(())
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    // The parser's own message is left out: it could quote the key.
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| configuration("the client certificate has no usable private key beside it (PEM)".to_owned()))
}

/// The TLS configuration of a pool. Blocks for some milliseconds the first time.
///
/// # Errors
/// [`ErrorKind::Configuration`] for certificates that cannot be used.
pub fn client_config(settings: &HttpSettings) -> Result<ClientConfig, Error> {
    let mut roots = common_roots().clone();
    if let Some(pem) = &settings.ca_pem {
        for cert in certificates(pem, "the CA certificate")? {
            roots.add(cert).map_err(|error| configuration(format!("the CA certificate cannot be used: {error}")))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| configuration(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots);
    let mut config = match &settings.client_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => builder
            .with_client_auth_cert(certificates(pem, "the client certificate")?, private_key(pem)?)
            .map_err(|error| configuration(format!("the client certificate cannot be used: {error}")))?,
    };
    config.alpn_protocols = match settings.protocol {
        Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}
