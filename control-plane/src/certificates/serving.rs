//! The certificate as TLS servers use it.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, NoClientAuth, ResolvesServerCert, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::sync::watch;

/// What is served at a moment.
pub struct Current {
    /// Shown in handshakes.
    pub key: Arc<CertifiedKey>,
    /// What clients must trust, PEM.
    pub ca_bundle: Arc<str>,
}

/// The certificate that servers show, whichever it is at that moment. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct ServingCertificate(watch::Receiver<Current>);

impl ServingCertificate {
    /// Follows what is current.
    #[must_use]
    pub fn new(current: watch::Receiver<Current>) -> Self {
        Self(current)
    }

    /// A configuration for a TLS server that speaks one of these protocols. It needs not be made anew when the certificate
    /// is: each handshake asks for the current one. Clients show a certificate if there is somebody to look at it.
    ///
    /// # Errors
    /// When the cryptography library offers no version of TLS.
    pub fn server_config(
        &self,
        protocols: &[&[u8]],
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients.unwrap_or_else(|| Arc::new(NoClientAuth)))
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// What clients must trust, PEM.
    #[must_use]
    pub fn ca_bundle(&self) -> Arc<str> {
        Arc::clone(&self.0.borrow().ca_bundle)
    }

    /// Wakes up when there is another certificate, perhaps of another CA.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Current> {
        self.0.clone()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow().key))
    }
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").finish_non_exhaustive()
    }
}
