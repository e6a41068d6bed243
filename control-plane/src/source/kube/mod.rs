//! The API server of a cluster as a source.

use anyhow::Context;
use futures_util::{StreamExt, stream::SelectAll};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{Api, Client, runtime::watcher};
use tokio::sync::mpsc;

use crate::source::SourceUpdate;

/// Follows the objects of a cluster until nobody listens any more.
///
/// # Errors
/// When there is no configuration for a client.
pub async fn run(updates: mpsc::Sender<SourceUpdate>) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("cannot tell where the API server is")?;
    let config = watcher::Config::default().streaming_lists();
    let services = watcher(Api::<Service>::all(client.clone()), config.clone()).map(|e| format!("{e:?}")).boxed();
    let slices = watcher(Api::<EndpointSlice>::all(client), config).map(|e| format!("{e:?}")).boxed();
    let mut all = SelectAll::from_iter([services, slices]);
    while let Some(event) = all.next().await {
        tracing::debug!("{event}");
    }
    updates.closed().await;
    Ok(())
}
