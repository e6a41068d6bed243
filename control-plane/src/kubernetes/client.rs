//! Clients of the API server that cannot hurt it, nor each other.

use std::{error::Error, time::Duration};

use anyhow::Context;
use kube::{Client, Config, client::ClientBuilder, core::Status};
use tower::{buffer::BufferLayer, limit::RateLimitLayer, timeout::TimeoutLayer};
use wasmesh_telemetry::{causes::causes, with_causes};

/// How many requests are begun in a second. Whatever goes wrong here, a watch that is closed as soon as it is opened among
/// it, the API server has others to serve.
const REQUESTS_PER_SECOND: u64 = 100;
/// How many tokens are asked about in a second: how fast proxies that are not known come in after a restart.
const REVIEWS_PER_SECOND: u64 = 100;
/// How often Leases are read and written in a second. Two replicas do so less than five times in two seconds.
const LEASES_PER_SECOND: u64 = 10;
/// How many requests wait for their turn; more wait in whoever asks.
const QUEUE: usize = 256;

/// An API server that does not take a connection within this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take to begin. A watch's answer begins at once and goes on for minutes, which this does not touch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How the API server is asked: over clients with a pace, a queue and connections of their own, so that a storm of one kind of
/// question keeps no other waiting.
#[derive(Clone)]
pub struct Clients {
    /// For everything that has no client of its own.
    pub general: Client,
    /// For tokens of proxies, which anybody can bring.
    pub reviews: Client,
    /// For Leases: a leader that cannot renew its own in time is none any more.
    pub leases: Client,
}

/// Clients of the cluster that this runs in, or of the current context of KUBECONFIG.
///
/// # Errors
/// When there is neither, or what there is cannot be used.
pub async fn connect() -> anyhow::Result<Clients> {
    let config = Config::infer().await.context(
        "cannot tell where the API server is: run in a pod with a ServiceAccount, or point KUBECONFIG to a configuration",
    )?;
    Clients::to(config)
}

impl Clients {
    fn to(mut config: Config) -> anyhow::Result<Self> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        Ok(Self {
            general: client(config.clone(), REQUESTS_PER_SECOND)?,
            reviews: client(config.clone(), REVIEWS_PER_SECOND)?,
            leases: client(config, LEASES_PER_SECOND)?,
        })
    }
}

fn client(config: Config, per_second: u64) -> anyhow::Result<Client> {
    let server = config.cluster_url.to_string();
    let builder =
        ClientBuilder::try_from(config).with_context(|| format!("cannot use the configuration for {server}"))?;
    // The last layer is the outermost: what waits for its turn has not been begun.
    let pace = RateLimitLayer::new(per_second, Duration::from_secs(1));
    let patience = TimeoutLayer::new(ANSWER_TIMEOUT);
    Ok(builder.with_layer(&patience).with_layer(&pace).with_layer(&BufferLayer::new(QUEUE)).build())
}

/// An error with everything that is behind it, each thing said once; what the API server has said, if it has.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    match causes(error).find_map(status) {
        Some(status) => explain_status(status),
        None => with_causes(error),
    }
}

fn status<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => Some(status),
        _ => error.downcast_ref(),
    }
}

fn explain_status(status: &Status) -> String {
    let hint = match status.code {
        401 => ": is the ServiceAccount's token still good?",
        403 => ": apply the manifests of this version, which grant it",
        404 => ": apply the manifests of this version, which define it",
        _ => "",
    };
    format!("the API server says {} {}: {}{hint}", status.code, status.reason, status.message)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Request, Response, body::Incoming, service::service_fn};
    use hyper_util::rt::TokioIo;
    use k8s_openapi::api::{
        authentication::v1::{TokenReview, TokenReviewSpec},
        coordination::v1::Lease,
    };
    use kube::{
        Api,
        api::{ObjectMeta, PostParams},
    };
    use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

    use super::*;

    /// An API server that says nothing of tokens, and notes that it is asked about them.
    async fn answer(request: Request<Incoming>, asked: Arc<Semaphore>) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path().contains("tokenreviews") {
            asked.add_permits(1);
            std::future::pending::<()>().await;
        }
        let lease = r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}}"#;
        Ok(Response::new(Full::from(lease)))
    }

    async fn serve(listener: TcpListener, asked: Arc<Semaphore>) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let asked = Arc::clone(&asked);
            let service = service_fn(move |request| answer(request, Arc::clone(&asked)));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    #[tokio::test]
    async fn a_storm_of_tokens_keeps_no_lease_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (asked, server) = (Arc::new(Semaphore::new(0)), listener.local_addr().unwrap());
        tokio::spawn(serve(listener, Arc::clone(&asked)));
        let clients = Clients::to(Config::new(format!("http://{server}").parse().unwrap())).unwrap();
        // At the pace of tokens it would take a minute until it is somebody else's turn.
        for _ in 0..6_000 {
            let reviews = Api::<TokenReview>::all(clients.reviews.clone());
            tokio::spawn(async move {
                let review =
                    TokenReview { metadata: ObjectMeta::default(), spec: TokenReviewSpec::default(), status: None };
                let _ = reviews.create(&PostParams::default(), &review).await;
            });
        }
        let _all = asked.acquire_many(REVIEWS_PER_SECOND as u32).await.unwrap();
        let leases = Api::<Lease>::namespaced(clients.leases.clone(), "default");
        let lease = timeout(Duration::from_secs(20), leases.get("leader")).await.expect("an answer").unwrap();
        assert_eq!(lease.metadata.name.as_deref(), Some("leader"));
    }
}
