//! A throw-away certificate authority, with one certificate for the simulator and one for its client.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};

use crate::error::{Error, ErrorKind};

/// What a TLS listener needs, and what its clients need to trust it.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// The authority's certificate.
    pub(super) ca_pem: String,
    /// A client's certificate and its key.
    pub(super) client_pem: String,
}

impl Tls {
    /// Makes new keys and certificates for `localhost` and `127.0.0.1`.
    pub(super) fn new(h1_only: bool, require_client_cert: bool) -> Result<Self, Error> {
        let ca_key = KeyPair::generate().map_err(failed)?;
        let mut params = named("edgequake-llm simulator CA", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = params.self_signed(&ca_key).map_err(failed)?;
        let issuer = Issuer::new(params, ca_key);
        let (server, server_key) =
            issue(&issuer, "localhost", &["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)?;
        let (client, client_key) = issue(&issuer, "simulator client", &[], ExtendedKeyUsagePurpose::ClientAuth)?;

        let provider = Arc::new(ring::default_provider());
        let verifier = if require_client_cert {
            let mut roots = RootCertStore::empty();
            roots.add(ca.der().clone()).map_err(failed)?;
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().map_err(failed)?
        } else {
            WebPkiClientVerifier::no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.der().clone()], key)
            .map_err(failed)?;
        let protocols: &[&[u8]] = if h1_only { &[b"http/1.1"] } else { &[b"h2", b"http/1.1"] };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            acceptor: Arc::new(config).into(),
            ca_pem: ca.pem(),
            client_pem: client.pem() + &client_key.serialize_pem(),
        })
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, Error> {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn issue(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    hosts: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<(Certificate, KeyPair), Error> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = named(name, hosts)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    Ok((certificate, key))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("simulator: no certificate could be made: {error}"))
}
