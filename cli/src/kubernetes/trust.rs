//! The certificate by which the mesh of a cluster is known.

use anyhow::bail;
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::Api;

use super::{Cluster, SYSTEM, explain};

/// The webhook that meshes pods.
pub(crate) const WEBHOOK: &str = "wasmesh-injector";
/// What holds the certificates.
pub(crate) const SECRET: &str = "wasmesh-ca";
/// The one in it that everyone trusts.
pub(crate) const CA: &str = "ca.crt";

impl Cluster {
    /// The authority of the mesh, PEM. The webhook's configuration is asked first, as it holds nothing that is secret; whoever may
    /// not look at it may be one who may look at the Secret.
    ///
    /// # Errors
    /// When neither can be looked at or has it.
    pub(crate) fn ca_bundle(&self) -> anyhow::Result<String> {
        let webhooks = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        let webhook = self.wait(webhooks.get(WEBHOOK)).map_err(|error| explain(&error));
        let webhook =
            match webhook.and_then(|webhook| of_webhook(webhook).ok_or_else(|| "it has no caBundle yet".to_owned())) {
                Ok(bundle) => return Ok(bundle),
                Err(why) => why,
            };
        let secrets = Api::<Secret>::namespaced(self.client.clone(), SYSTEM);
        let secret = self.wait(secrets.get(SECRET)).map_err(|error| explain(&error));
        match secret.and_then(|secret| of_secret(secret).ok_or_else(|| format!("it has no certificate in {CA}"))) {
            Ok(bundle) => Ok(bundle),
            Err(secret) => bail!(
                "{} does not say it: webhook configuration {WEBHOOK}: {webhook}; Secret {SYSTEM}/{SECRET}: {secret}",
                self.server
            ),
        }
    }
}

/// Whether a text holds a certificate in PEM.
pub(crate) fn is_certificate(text: &str) -> bool {
    text.contains("-----BEGIN CERTIFICATE-----")
}

fn of_webhook(webhook: MutatingWebhookConfiguration) -> Option<String> {
    webhook.webhooks.into_iter().flatten().find_map(|webhook| text(webhook.client_config.ca_bundle?))
}

fn of_secret(secret: Secret) -> Option<String> {
    text(secret.data?.remove(CA)?)
}

fn text(bytes: ByteString) -> Option<String> {
    String::from_utf8(bytes.0).ok().filter(|text| is_certificate(text))
}
