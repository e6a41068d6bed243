//! Who may ask: whoever shows a certificate of the API server's, if the installation says of which authority that is.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::server::PROTOCOLS;
use crate::{certificates::ServingCertificate, kubernetes::Outage};

/// How often the file is read again: a volume of a Secret or a ConfigMap changes with it.
const LOOK: Duration = Duration::from_secs(30);

/// The authorities of a file: whoever has a certificate of one of them may ask.
pub struct ClientCa {
    file: PathBuf,
    pem: Vec<u8>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCa {
    /// Reads a file of certificates, PEM.
    ///
    /// # Errors
    /// When it cannot be read, or there is something else in it.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let pem = fs::read(file).with_context(|| format!("cannot read {} (--webhook-client-ca)", file.display()))?;
        let verifier =
            verifier(&pem).with_context(|| format!("cannot use {} (--webhook-client-ca)", file.display()))?;
        Ok(Self { file: file.to_owned(), pem, verifier })
    }
}

fn verifier(pem: &[u8]) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.context("not PEM")?).context("not the certificate of an authority")?;
    }
    ensure!(!roots.is_empty(), "there is no certificate in it: expected PEM");
    let provider = Arc::new(ring::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

/// How the server shakes hands.
///
/// # Errors
/// When the cryptography library offers no version of TLS.
pub fn server_config(
    certificate: &ServingCertificate,
    clients: Option<&ClientCa>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    certificate.server_config(PROTOCOLS, clients.map(|clients| Arc::clone(&clients.verifier)))
}

/// Follows the file, if there is one, for ever. What cannot be used is passed over: what was in it before goes on.
pub async fn follow(certificate: ServingCertificate, clients: Option<ClientCa>, tls: watch::Sender<Arc<ServerConfig>>) {
    let Some(mut clients) = clients else { return std::future::pending().await };
    let outage = Outage::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let renewed = ClientCa::read(&clients.file).and_then(|now| {
            let config = (now.pem != clients.pem).then(|| server_config(&certificate, Some(&now))).transpose()?;
            Ok((now, config))
        });
        match renewed {
            Ok((now, config)) => {
                if outage.ends() {
                    tracing::info!("the authority of the webhook's clients can be read again");
                }
                if let Some(config) = config {
                    tracing::info!(file = %now.file.display(), "the webhook has another authority of its clients");
                    tls.send_replace(config);
                    clients = now;
                }
            }
            Err(error) if outage.begins() => tracing::warn!("the one that was there before goes on: {error:#}"),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::ClientCa;

    fn read(text: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        ClientCa::read(file.path()).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn a_file_without_an_authority_is_an_error_that_says_so() {
        for (text, why) in [
            ("", "no certificate"),
            ("hello", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not the certificate"),
        ] {
            let said = read(text);
            assert!(said.contains(why) && said.contains("--webhook-client-ca"), "{said}");
        }
        let missing = ClientCa::read("/nowhere/ca.crt".as_ref()).err().unwrap();
        assert!(format!("{missing:#}").contains("cannot read /nowhere/ca.crt (--webhook-client-ca)"));
    }
}
