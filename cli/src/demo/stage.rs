//! Carries the plan out.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::time::{interval, sleep, timeout};

use super::{
    backends::{self, Backend},
    clients::Load,
    judge,
    manifests::{
        ECHO_ADDRESSES, ECHO_PORT, Folder, GREETER_ADDRESSES, GREETER_PORT, NGINX_ADDRESSES, NGINX_PORT,
        PODINFO_ADDRESSES, PODINFO_PORT,
    },
    mesh::Mesh,
    names::{self, Asked, Asker},
    phases::{self, Change, Chapter, Phase, Pods},
    protocol::Protocol,
    says::{self, Said},
    screen::Screen,
    tally::{Part, Recorder, Tally},
};

/// How often a live table is painted.
const FRAME: Duration = Duration::from_millis(100);

/// For requests that are under way when a phase ends. Longer than a client's patience.
const STRAGGLERS: Duration = Duration::from_secs(12);

/// The pods that run, by where they listen.
type Backends = HashMap<SocketAddr, Backend>;

/// Everything that runs.
pub(super) struct Stage {
    pub(super) recorder: Arc<Recorder>,
    folder: Folder,
    plan: Vec<Chapter>,
    backends: Backends,
    load: Vec<Load>,
    names: Option<Asker>,
    pub(super) mesh: Mesh,
}

impl Stage {
    /// Starts all but the traffic.
    pub(super) async fn set_up() -> anyhow::Result<Self> {
        let mut backends = HashMap::new();
        let [nginx, _] = start(&mut backends, Protocol::Http, NGINX_ADDRESSES, NGINX_PORT)?;
        let plan = phases::plan(&Pods {
            podinfo: start(&mut backends, Protocol::Http, PODINFO_ADDRESSES, PODINFO_PORT)?,
            echo: start(&mut backends, Protocol::Grpc, ECHO_ADDRESSES, ECHO_PORT)?,
            greeter: start(&mut backends, Protocol::Tcp, GREETER_ADDRESSES, GREETER_PORT)?,
        });
        let folder = Folder::create(nginx.port())?;
        // Where a Service has several chapters, it begins with the first.
        for chapter in plan.iter().rev() {
            folder.write_endpoints(chapter.protocol, &chapter.endpoints)?;
        }
        let mesh = Mesh::start(folder.path()).await?;
        Ok(Self { recorder: Arc::default(), folder, plan, backends, load: Vec::new(), names: None, mesh })
    }

    /// Plays all phases. A request that fails is a result; an error is a mesh that cannot be changed at all.
    pub(super) async fn play(&mut self, length: Duration, screen: &mut Screen) -> anyhow::Result<Vec<judge::Outcome>> {
        self.mesh.ready().await?;
        self.names = Some(Asker::start(self.mesh.dns()?).await?);
        let plan = std::mem::take(&mut self.plan);
        let of = plan.iter().map(|chapter| chapter.phases.len()).sum();
        let mut played = Vec::new();
        for chapter in &plan {
            let mut changing = self.recorder.open();
            self.open(chapter, changing).await?;
            for (at, phase) in chapter.phases.iter().enumerate() {
                screen.begin(played.len() + 1, of, phase);
                let change = self.apply(chapter.protocol, &phase.change).await;
                change.with_context(|| format!("phase {} cannot begin", phase.name))?;
                let reached = self.await_policy(chapter.protocol, &phase.change).await;
                let reached = reached.with_context(|| format!("phase {} cannot begin", phase.name))?;
                let settled = self.recorder.open();
                self.watch(chapter, phase, settled, length, screen).await;
                if at + 1 == chapter.phases.len() {
                    self.end_traffic().await;
                }
                let policies = self.policies(chapter.protocol, &phase.change, &reached).await?;
                // The next phase begins at once: while the last requests of this one are waited for, the stream goes on.
                let next = self.recorder.open();
                let (before, after) = (self.all_of(changing).await, self.all_of(settled).await);
                let judged = judge::judge(chapter.protocol, phase, before, after);
                let result = judge::Outcome { policies, ..judged };
                changing = next;
                screen.end(&chapter.backends, phase, &result);
                played.push(result);
            }
        }
        Ok(played)
    }

    /// What became of all questions for a name.
    pub(super) async fn asked(&mut self) -> anyhow::Result<Asked> {
        match self.names.take() {
            Some(names) => names.finish().await,
            None => Ok(Asked::default()),
        }
    }

    /// Sets the scene: the endpoints, and the clients at work if the chapter begins with them.
    async fn open(&mut self, chapter: &Chapter, part: Part) -> anyhow::Result<()> {
        if !self.folder.has_endpoints(chapter.protocol, &chapter.endpoints) {
            self.change_endpoints(chapter.protocol, &chapter.endpoints).await?;
        }
        if chapter.at_work {
            self.start_traffic(chapter.protocol)?;
            while self.recorder.tally(part).ended() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, protocol: Protocol, change: &Change) -> anyhow::Result<()> {
        match change {
            Change::StartTraffic { dead } => {
                if let Some(dead) = dead {
                    self.take(dead)?.crash().await;
                }
                self.start_traffic(protocol)
            }
            Change::Endpoints(now) => self.change_endpoints(protocol, now).await,
            Change::Leave { leaver, others } => {
                self.change_endpoints(protocol, others).await?;
                // From here on it gets nothing more, so what it does to end belongs to what follows.
                tokio::spawn(self.take(leaver)?.leave());
                Ok(())
            }
            Change::Policy(policy) => self.mesh.change(|| self.folder.write_policy(policy)).await,
            Change::Own(own) => self.mesh.change(|| self.folder.write_own(protocol, own)).await,
            Change::KillControlPlane { meanwhile } => {
                self.mesh.kill_control_plane().await?;
                self.folder.write_endpoints(protocol, meanwhile)
            }
            Change::RestartControlPlane => self.mesh.restart_control_plane(self.folder.path()).await,
            Change::Crash(backend) => {
                self.take(backend)?.crash().await;
                Ok(())
            }
        }
    }

    /// Waits until a policy of the user's own is where it must come; returns what the sidecar has said on the way.
    async fn await_policy(&mut self, protocol: Protocol, change: &Change) -> anyhow::Result<Vec<Said>> {
        let Change::Own(own) = change else { return Ok(Vec::new()) };
        let mut reached = Vec::new();
        for milestone in own.milestones() {
            reached.push(self.mesh.reached(&full_name(protocol), &milestone).await?);
        }
        Ok(reached)
    }

    /// What the sidecar says in the end of a policy of the user's own.
    async fn policies(&self, protocol: Protocol, change: &Change, reached: &[Said]) -> anyhow::Result<Vec<Said>> {
        let Change::Own(own) = change else { return Ok(Vec::new()) };
        let modules: Vec<_> = own.modules().collect();
        Ok(says::told(&full_name(protocol), &modules, reached, self.mesh.policies().await?))
    }

    async fn change_endpoints(&mut self, protocol: Protocol, now: &[SocketAddr]) -> anyhow::Result<()> {
        self.mesh.change(|| self.folder.write_endpoints(protocol, now)).await
    }

    fn take(&mut self, backend: &SocketAddr) -> anyhow::Result<Backend> {
        self.backends.remove(backend).with_context(|| format!("there is no backend {backend}"))
    }

    fn start_traffic(&mut self, protocol: Protocol) -> anyhow::Result<()> {
        self.load.push(Load::start(protocol, self.mesh.http_proxy()?, &self.recorder));
        Ok(())
    }

    /// All of it at once, for whoever wants to look around.
    pub(super) fn resume_traffic(&mut self) -> anyhow::Result<()> {
        Protocol::ALL.into_iter().try_for_each(|protocol| self.start_traffic(protocol))
    }

    async fn end_traffic(&mut self) {
        for load in self.load.drain(..) {
            load.finish().await;
        }
    }

    /// Lets the stream of requests run for the length of a phase.
    async fn watch(&self, chapter: &Chapter, phase: &Phase, part: Part, length: Duration, screen: &mut Screen) {
        if !screen.is_live() {
            return sleep(length).await;
        }
        let mut frames = interval(FRAME);
        let _ = timeout(length, async {
            loop {
                frames.tick().await;
                screen.show(&chapter.backends, phase, &self.recorder.tally(part));
            }
        })
        .await;
    }

    /// The tally of a part that is over, once its last request has ended.
    async fn all_of(&self, part: Part) -> Tally {
        let deadline = Instant::now() + STRAGGLERS;
        loop {
            let tally = self.recorder.tally(part);
            if tally.ended() == tally.sent || Instant::now() > deadline {
                return tally;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// For whoever keeps it running.
    pub(super) fn where_to_look(&self) -> anyhow::Result<String> {
        let Self { mesh, folder, .. } = self;
        let dns = mesh.dns()?;
        let (proxy_admin, http_proxy, control_plane_admin) =
            (mesh.proxy_admin()?, mesh.http_proxy()?, mesh.control_plane_admin());
        Ok(format!(
            "Everything goes on until Ctrl-C. Where to look and what to try:\n\n    \
             wasmesh status --admin {proxy_admin}                 # the sidecar\n    \
             wasmesh endpoints podinfo --admin {proxy_admin}      # what it balances over\n    \
             wasmesh status --admin {control_plane_admin}                 # the control plane, and what became of policies\n    \
             curl -x http://{http_proxy} http://podinfo.default/  # one more request\n    \
             curl -x http://{http_proxy} -H 'x-canary: yes' http://podinfo.default/  # one for the next version\n    \
             dig @{dns_ip} -p {dns_port} {name}  # what its name comes to\n    \
             $EDITOR {}          # change the endpoints\n    \
             $EDITOR {}             # change the policy\n",
            folder.endpoints_file().display(),
            folder.own_file(Protocol::Http).display(),
            dns_ip = dns.ip(),
            dns_port = dns.port(),
            name = names::NAME,
        ))
    }

    /// Clients first, so that nobody is asked for what is no longer there.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        self.end_traffic().await;
        self.mesh.end().await?;
        let path = self.folder.path().to_owned();
        drop(self.folder);
        ensure!(!path.exists(), "{} could not be removed", path.display());
        Ok(())
    }
}

/// As the mesh calls the Service.
fn full_name(protocol: Protocol) -> String {
    format!("default/{}", protocol.service())
}

/// Starts a Service's pods, all on one port.
fn start<const N: usize>(
    backends: &mut Backends,
    protocol: Protocol,
    ips: [Ipv4Addr; N],
    usual_port: u16,
) -> anyhow::Result<[SocketAddr; N]> {
    let listeners = backends::bind(&ips, usual_port)?;
    let port = listeners.first().context("a Service without pods")?.local_addr()?.port();
    for listener in listeners {
        backends.insert(listener.local_addr()?, Backend::serve(listener, protocol)?);
    }
    Ok(ips.map(|ip| (ip, port).into()))
}
