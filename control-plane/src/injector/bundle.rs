//! Keeps the API server trusting the webhook: the leader writes the bundle of certificates into the webhook's configuration,
//! and writes it again when somebody has put another one there.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::watcher,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{events, quarrel::Quarrel};
use crate::{
    certificates::ServingCertificate,
    kubernetes::{
        Outage, explain,
        follow::{Event, follow},
    },
};

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
    let watched = api.clone();
    let mut changes = follow(only_this, move |config| watcher(watched.clone(), config));
    let mut certificates = certificate.subscribe();
    let mut seen = Seen::default();
    let (outage, unwritable, started) = (Outage::default(), Outage::default(), Instant::now());
    let mut quarrel = Quarrel::default();
    let mut written: Option<Arc<str>> = None;
    let (mut failures, mut again): (u32, Option<Instant>) = (0, None);
    loop {
        let calm_at = quarrel.calm_at().map(|calm| started + calm);
        tokio::select! {
            Some(change) = changes.next() => {
                outage.watch("mutatingwebhookconfigurations", "the bundle in it stays as it is", &change);
                seen.take(change);
            }
            // Whoever promises more leadership or certificates has gone only when everything ends.
            Ok(()) = certificates.changed() => {}
            Ok(()) = is_leader.changed() => {}
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => again = None,
            () = sleep_until(calm_at.unwrap_or_else(Instant::now)), if calm_at.is_some() => {
                if quarrel.calm() {
                    events::bundle_left_alone();
                }
            }
        }
        let Some(found) = seen.configuration().filter(|_| *is_leader.borrow() && again.is_none()) else { continue };
        let bundle = certificate.ca_bundle();
        let Some(patch) = patch(found, &bundle) else { continue };
        if let Some(reverted) =
            written.take_if(|written| **written == *bundle).and_then(|_| quarrel.reverted(started.elapsed()))
        {
            events::bundle_reverted(reverted.is_news);
            if !reverted.pause.is_zero() {
                again = Some(Instant::now() + reverted.pause);
                continue;
            }
        }
        match api.patch(CONFIGURATION, &PatchParams::apply(MANAGER), &Patch::Strategic(patch)).await {
            Ok(now) => {
                unwritable.ends();
                seen.wrote(now);
                failures = 0;
                quarrel.written(started.elapsed());
                written = Some(bundle);
                events::bundle_written();
            }
            Err(error) => {
                again = Some(Instant::now() + PAUSE * 2_u32.pow(failures.min(MAX_DOUBLINGS)));
                failures += 1;
                events::bundle_not_written(&explain(&error), unwritable.begins());
            }
        }
    }
}

/// The configuration as it was seen last.
#[derive(Default)]
struct Seen {
    configuration: Option<MutatingWebhookConfiguration>,
    /// The version that we have written: what the watch tells until it comes is older.
    awaited: Option<String>,
}

impl Seen {
    fn take(&mut self, event: Event<MutatingWebhookConfiguration>) {
        match event {
            Event::Applied(found) => {
                if self.awaited.is_none() || self.awaited == found.metadata.resource_version {
                    *self = Self { configuration: Some(found), awaited: None };
                }
            }
            Event::ListBegins => *self = Self::default(),
            Event::Listed(found) => self.configuration = Some(found),
            Event::Deleted(_) => *self = Self::default(),
            // What was written may have been missed.
            Event::Failed { .. } => self.awaited = None,
            Event::ListEnds | Event::Works => {}
        }
    }

    fn wrote(&mut self, written: MutatingWebhookConfiguration) {
        let version = written.metadata.resource_version.clone();
        let before = self.configuration.as_ref().and_then(|before| before.metadata.resource_version.clone());
        // Where nothing was changed, there is nothing to wait for.
        self.awaited = version.filter(|version| before.as_ref() != Some(version));
        self.configuration = Some(written);
    }

    fn configuration(&self) -> Option<&MutatingWebhookConfiguration> {
        self.configuration.as_ref()
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

    use super::{Event, Seen, patch};

    #[test]
    fn what_is_older_than_what_was_written_is_not_looked_at() {
        let versioned = |version: &str, bundle| {
            let mut configuration = configuration([Some(bundle), Some(bundle)]);
            configuration.metadata.resource_version = Some(version.to_owned());
            configuration
        };
        let is_well = |seen: &Seen| seen.configuration().is_some_and(|found| patch(found, "ca").is_none());
        let mut seen = Seen::default();
        seen.take(Event::Listed(versioned("1", "old")));
        assert!(!is_well(&seen));
        seen.wrote(versioned("3", "ca"));
        seen.take(Event::Applied(versioned("2", "old")));
        assert!(is_well(&seen), "this is how it was before");
        seen.take(Event::Applied(versioned("3", "ca")));
        seen.take(Event::Applied(versioned("4", "other")));
        assert!(!is_well(&seen), "somebody has written after us");
        seen.take(Event::Deleted(versioned("5", "other")));
        assert!(seen.configuration().is_none());
    }

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
