//! A client of the API server that cannot hurt it.

use std::{error::Error, time::Duration};

use anyhow::Context;
use kube::{Client, Config, client::ClientBuilder};
use tower::{buffer::BufferLayer, limit::RateLimitLayer, timeout::TimeoutLayer};

/// How many requests are begun in a second. Whatever goes wrong here, a watch that is closed as soon as it is opened among
/// it, the API server has others to serve.
const REQUESTS_PER_SECOND: u64 = 100;
/// How many requests wait for their turn; more wait in whoever asks.
const QUEUE: usize = 256;

/// An API server that does not take a connection within this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take to begin. A watch's answer begins at once and goes on for minutes, which this does not touch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of the cluster that this runs in, or of the current context of KUBECONFIG.
///
/// # Errors
/// When there is neither, or what there is cannot be used.
pub async fn connect() -> anyhow::Result<Client> {
    let config = Config::infer().await.context(
        "cannot tell where the API server is: run in a pod with a ServiceAccount, or point KUBECONFIG to a configuration",
    )?;
    client(config)
}

fn client(mut config: Config) -> anyhow::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let server = config.cluster_url.to_string();
    let builder =
        ClientBuilder::try_from(config).with_context(|| format!("cannot use the configuration for {server}"))?;
    // The last layer is the outermost: what waits for its turn has not been begun.
    let pace = RateLimitLayer::new(REQUESTS_PER_SECOND, Duration::from_secs(1));
    let patience = TimeoutLayer::new(ANSWER_TIMEOUT);
    Ok(builder.with_layer(&patience).with_layer(&pace).with_layer(&BufferLayer::new(QUEUE)).build())
}

/// An error with everything that is behind it, each thing said once.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => return explain_status(status),
        _ => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(status) = cause.downcast_ref::<kube::core::Status>() {
            return explain_status(status);
        }
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

fn explain_status(status: &kube::core::Status) -> String {
    let hint = match status.code {
        401 => ": is the ServiceAccount's token still good?",
        403 => ": apply the manifests of this version, which grant it",
        404 => ": apply the manifests of this version, which define it",
        _ => "",
    };
    format!("the API server says {} {}: {}{hint}", status.code, status.reason, status.message)
}
