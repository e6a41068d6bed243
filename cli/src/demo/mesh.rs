//! The mesh of the demo: a control plane on the folder, and one sidecar.

use std::{cell::RefCell, future::Future, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::{
    own::Milestone,
    process::Process,
    says::{Page, Said},
};
use crate::{
    admin,
    pages::{self, Streams},
};

const CONTROL_PLANE: &str = "wasmesh-control-plane";
const PROXY: &str = "wasmesh-proxy";

/// Of the sidecar.
pub(super) const WORKERS: usize = 2;

/// How often a state that must come is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// How long it may take. The longest wait is a sidecar's pause before it tries the control plane again.
const COMES: Duration = Duration::from_secs(30);

/// How often a control plane is started on ports that it had before: someone else may hold them for a moment.
const RESTARTS: usize = 10;

/// The two processes. Both are killed when it is dropped.
pub(super) struct Mesh {
    control_plane: Process,
    proxy: Process,
    discovery: SocketAddr,
    control_plane_admin: SocketAddr,
}

impl Mesh {
    /// Starts both on free ports.
    pub(super) async fn start(source: &Path) -> anyhow::Result<Self> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let control_plane = start_control_plane(source, anywhere, anywhere).await?;
        let (discovery, control_plane_admin) = (control_plane.port("discovery")?, control_plane.port("admin")?);
        let proxy = start_proxy(discovery).await?;
        Ok(Self { control_plane, proxy, discovery, control_plane_admin })
    }

    /// Waits until the sidecar is ready and has the first state.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let admin = self.proxy_admin()?;
        comes("the sidecar to be ready", || async { Ok(get(admin, "/readyz").await?.status == 200) }).await?;
        self.acknowledged(0).await
    }

    /// Where clients send their requests.
    pub(super) fn http_proxy(&self) -> anyhow::Result<SocketAddr> {
        self.proxy.port("http-proxy")
    }

    /// Where names are asked for.
    pub(super) fn dns(&self) -> anyhow::Result<SocketAddr> {
        self.proxy.port("dns")
    }

    /// The sidecar's admin address.
    pub(super) fn proxy_admin(&self) -> anyhow::Result<SocketAddr> {
        self.proxy.port("admin")
    }

    /// The control plane's admin address.
    pub(super) fn control_plane_admin(&self) -> SocketAddr {
        self.control_plane_admin
    }

    /// Changes the objects and waits until the sidecar has acknowledged what came of it.
    pub(super) async fn change(&mut self, change: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let before = streams(self.control_plane_admin).await?.sequence;
        change()?;
        self.acknowledged(before).await
    }

    /// Waits until every sidecar has acknowledged the newest state, one that is newer than this. In vain if one of the
    /// two ends.
    async fn acknowledged(&mut self, before: u64) -> anyhow::Result<()> {
        let admin = self.control_plane_admin;
        let acknowledged = comes("the sidecar to acknowledge the newest state", || async move {
            let Streams { sequence, streams } = streams(admin).await?;
            Ok(sequence > before && !streams.is_empty() && streams.iter().all(|stream| stream.current))
        });
        tokio::select! {
            acknowledged = acknowledged => acknowledged,
            error = self.control_plane.ended() => Err(error),
            error = self.proxy.ended() => Err(error),
        }
    }

    /// What the sidecar says of policies.
    pub(super) async fn policies(&self) -> anyhow::Result<Vec<Said>> {
        policies(self.proxy_admin()?).await
    }

    /// Waits until the sidecar says of a Service's policies that they have come so far; returns its words.
    pub(super) async fn reached(&mut self, service: &str, milestone: &Milestone) -> anyhow::Result<Said> {
        let admin = self.proxy_admin()?;
        let last = RefCell::new(Vec::new());
        let is_it = |said: &&Said| said.service == service && milestone.is_reached(said);
        let what = format!("the policy {} to be {}", milestone.module.name, milestone.phase);
        let comes = comes(&what, || async {
            last.replace(policies(admin).await?);
            Ok(last.borrow().iter().any(|said| is_it(&said)))
        });
        let came = tokio::select! {
            came = comes => came,
            error = self.proxy.ended() => Err(error),
        };
        let last = last.into_inner();
        came.with_context(|| {
            let said = last.iter().filter(|said| said.service == service).map(Said::to_string);
            format!("the sidecar says of {service}: [{}]", said.collect::<Vec<_>>().join("; "))
        })?;
        last.into_iter().find(|said| is_it(&said)).context("what was seen is gone")
    }

    /// SIGKILL, as by a node that runs out of memory.
    pub(super) async fn kill_control_plane(&mut self) -> anyhow::Result<()> {
        self.control_plane.kill().await
    }

    /// Starts another where the first was, and waits until the sidecar has found it and acknowledged its state.
    pub(super) async fn restart_control_plane(&mut self, source: &Path) -> anyhow::Result<()> {
        for attempt in 1.. {
            match start_control_plane(source, self.discovery, self.control_plane_admin).await {
                Ok(control_plane) => {
                    self.control_plane = control_plane;
                    break;
                }
                Err(error) if attempt == RESTARTS => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        self.acknowledged(0).await
    }

    /// What both have logged last.
    pub(super) fn last_words(&mut self) -> String {
        format!("{}\n{}", self.control_plane.last_words(), self.proxy.last_words())
    }

    /// Ends both.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.proxy.kill().await?;
        self.control_plane.kill().await
    }
}

async fn start_control_plane(source: &Path, discovery: SocketAddr, admin: SocketAddr) -> anyhow::Result<Process> {
    let source = source.to_str().context("the temporary folder's path is no UTF-8")?;
    let (discovery, admin) = (discovery.to_string(), admin.to_string());
    let args = [
        "--source",
        source,
        "--discovery-listen",
        &discovery,
        "--admin-listen",
        &admin,
        "--name",
        "demo-control-plane",
    ];
    Process::start(CONTROL_PLANE, args, &["discovery", "admin"]).await
}

async fn start_proxy(discovery: SocketAddr) -> anyhow::Result<Process> {
    let (url, workers) = (format!("http://{discovery}"), WORKERS.to_string());
    let args = [
        "run",
        "--control-plane",
        &url,
        "--http-proxy-listen",
        "127.0.0.1:0",
        "--dns-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--name",
        "demo-client",
        "--namespace",
        "default",
        "--node-name",
        "worker-1",
        "--zone",
        "zone-a",
        "--workers",
        &workers,
        // There is only one sidecar to fetch a module.
        "--module-jitter",
        "0",
    ];
    Process::start(PROXY, args, &["http-proxy", "dns", "admin"]).await
}

async fn streams(admin: SocketAddr) -> anyhow::Result<Streams> {
    tokio::task::spawn_blocking(move || pages::fetch(&admin.into(), "/debug/streams")).await?
}

async fn policies(admin: SocketAddr) -> anyhow::Result<Vec<Said>> {
    let page: Page = tokio::task::spawn_blocking(move || pages::fetch(&admin.into(), "/debug/policies")).await??;
    Ok(page.policies)
}

async fn get(addr: SocketAddr, path: &'static str) -> anyhow::Result<admin::Answer> {
    tokio::task::spawn_blocking(move || admin::get(&addr.into(), path)).await?
}

/// Looks until it is so. A look that fails is no answer: whoever is asked may just be starting.
async fn comes<L>(what: &str, mut look: impl FnMut() -> L) -> anyhow::Result<()>
where
    L: Future<Output = anyhow::Result<bool>>,
{
    let deadline = Instant::now() + COMES;
    loop {
        let seen = look().await;
        match seen {
            Ok(true) => return Ok(()),
            Ok(false) if Instant::now() < deadline => {}
            Err(_) if Instant::now() < deadline => {}
            Ok(false) => bail!("waited {COMES:?} in vain for {what}"),
            Err(error) => return Err(error).with_context(|| format!("waited {COMES:?} in vain for {what}")),
        }
        sleep(LOOK).await;
    }
}
