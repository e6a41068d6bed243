//! Keeps the API server trusting the webhook: the leader writes the bundle of certificates into the webhook's configuration,
//! and writes it again when somebody has put another one there.

use std::{pin::pin, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::events;
use crate::certificates::ServingCertificate;

/// The configuration's name.
pub const CONFIGURATION: &str = "wasmesh-injector";

/// Who writes it, in the configuration's managed fields.
const MANAGER: &str = "wasmesh-control-plane";

/// The pause after the bundle could not be written. It grows up to sixteen times as long.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_DOUBLINGS: u32 = 4;

/// Does so for ever, while this replica leads.
pub async fn keep(client: Client, certificate: ServingCertificate, mut is_leader: watch::Receiver<bool>) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client);
    let only_this = watcher::Config::default().fields(&format!("metadata.name={CONFIGURATION}"));
    let mut changes = pin!(watcher(api.clone(), only_this).default_backoff());
    let mut certificates = certificate.subscribe();
    let mut configuration: Option<MutatingWebhookConfiguration> = None;
    let (mut failures, mut again): (u32, Option<Instant>) = (0, None);
    loop {
        tokio::select! {
            Some(change) = changes.next() => match change {
                Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => configuration = Some(found),
                Ok(watcher::Event::Delete(_)) => configuration = None,
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => events::configuration_unknown(&error.to_string()),
            },
            // Whoever promises more leadership or certificates has gone only when everything ends.
            Ok(()) = certificates.changed() => {}
            Ok(()) = is_leader.changed() => {}
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => again = None,
        }
        let Some(found) = configuration.as_ref().filter(|_| *is_leader.borrow() && again.is_none()) else { continue };
        let bundle = certificate.ca_bundle();
        let Some(patch) = patch(found, &bundle) else { continue };
        match api.patch(CONFIGURATION, &PatchParams::apply(MANAGER), &Patch::Strategic(patch)).await {
            Ok(written) => {
                (configuration, failures) = (Some(written), 0);
                events::bundle_written();
            }
            Err(error) => {
                again = Some(Instant::now() + PAUSE * 2_u32.pow(failures.min(MAX_DOUBLINGS)));
                failures += 1;
                events::bundle_not_written(&error.to_string());
            }
        }
    }
}

/// What makes every webhook of a configuration trust this bundle; nothing if all do.
fn patch(configuration: &MutatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let webhooks = configuration.webhooks.as_deref().unwrap_or_default();
    let has_it = |bytes: &k8s_openapi::ByteString| bytes.0 == bundle.as_bytes();
    if webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref().is_some_and(has_it)) {
        return None;
    }
    let bundle = serde_json::to_value(k8s_openapi::ByteString(bundle.as_bytes().to_vec())).ok()?;
    // Merged by name.
    let webhooks: Vec<_> = webhooks
        .iter()
        .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    Some(json!({ "webhooks": webhooks }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        ByteString,
        api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration, WebhookClientConfig},
    };
    use serde_json::json;

    use super::patch;

    fn configuration(bundles: [Option<&str>; 2]) -> MutatingWebhookConfiguration {
        let webhook = |(name, bundle): (&str, Option<&str>)| MutatingWebhook {
            name: name.to_owned(),
            client_config: WebhookClientConfig {
                ca_bundle: bundle.map(|bundle| ByteString(bundle.into())),
                ..WebhookClientConfig::default()
            },
            ..MutatingWebhook::default()
        };
        let webhooks = ["a", "b"].into_iter().zip(bundles).map(webhook).collect();
        MutatingWebhookConfiguration { webhooks: Some(webhooks), ..MutatingWebhookConfiguration::default() }
    }

    #[test]
    fn only_what_is_wrong_is_mended() {
        assert_eq!(patch(&configuration([Some("ca"), Some("ca")]), "ca"), None);
        assert_eq!(patch(&MutatingWebhookConfiguration::default(), "ca"), None);
        let both = json!({ "webhooks": [
            { "name": "a", "clientConfig": { "caBundle": "Y2E=" } },
            { "name": "b", "clientConfig": { "caBundle": "Y2E=" } },
        ] });
        for bundles in [[None, None], [Some("ca"), None], [Some("ca"), Some("other")]] {
            assert_eq!(patch(&configuration(bundles), "ca"), Some(both.clone()), "{bundles:?}");
        }
    }
}
