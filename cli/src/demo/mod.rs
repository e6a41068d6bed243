//! `wasmesh demo`: a whole mesh on loopback, a stream of requests through it, and changes that lose none of them.
//!
//! Control plane and sidecar are the real binaries, started as children; backends and clients run in this process. The
//! [plan](phases) is data; [`Stage`] carries it out and [`judge`] says whether each phase went as it must. A request is
//! judged by when it began: before or after the sidecar acknowledged the change of its phase.

mod backends;
mod judge;
mod load;
mod manifests;
mod mesh;
mod phases;
mod process;
mod report;
mod screen;
mod tally;

use std::{
    collections::HashMap,
    io,
    io::Write,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use tokio::time::{interval, sleep, timeout};
use wasmesh_telemetry::shutdown;

use self::{
    backends::Backend,
    load::Load,
    manifests::{Folder, NGINX_ADDRESSES, NGINX_PORT, PODINFO_ADDRESSES, PODINFO_PORT},
    mesh::Mesh,
    phases::{Change, Phase},
    report::Report,
    screen::Screen,
    tally::{Part, Recorder, Tally},
};
use crate::options;

/// How often a live table is painted.
const FRAME: Duration = Duration::from_millis(100);

/// For requests that are under way when a phase ends. Longer than a client's patience.
const STRAGGLERS: Duration = Duration::from_secs(12);

/// A program ended by SIGINT says so in its exit code.
const INTERRUPTED: u8 = 130;

/// Everything that runs.
struct Stage {
    recorder: Arc<Recorder>,
    folder: Folder,
    podinfo: [SocketAddr; 5],
    backends: HashMap<SocketAddr, Backend>,
    load: Option<Load>,
    mesh: Mesh,
}

/// Runs the demo; `started` is when this program did.
pub(crate) fn run(options: &options::Demo, started: Instant) -> anyhow::Result<ExitCode> {
    process::beside_this("wasmesh-control-plane")?;
    process::beside_this("wasmesh-proxy")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let stop = shutdown::signal()?;
        // Whatever runs is owned by the demo's future and ends when that is dropped.
        tokio::select! {
            ended = demo(options, started) => ended,
            () = stop => Ok(ExitCode::from(INTERRUPTED)),
        }
    });
    // A page that is being asked for in a blocking thread is of no interest any more.
    runtime.shutdown_background();
    ended
}

async fn demo(options: &options::Demo, started: Instant) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::new(options.json);
    screen.say("Starting a control plane on a folder of Kubernetes objects, a sidecar, and backends on loopback.\n");
    let mut stage = Stage::set_up().await?;
    let results = match stage.play(options.seconds_per_phase, &mut screen).await {
        Ok(results) => results,
        Err(error) => {
            screen.say(&stage.mesh.last_words());
            return Err(error);
        }
    };
    let good = results.iter().all(|result| result.complaints.is_empty());
    let to_first_request = stage.recorder.first_answer().map(|at| at.duration_since(started));
    screen.say(&verdict(&results, to_first_request));
    if !good {
        screen.say(&stage.mesh.last_words());
    }
    if options.json {
        let report = serde_json::to_string(&Report::new(&results, to_first_request))?;
        writeln!(io::stdout(), "{report}").context("nobody reads the report")?;
    }
    let code = if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if options.keep {
        screen.say(&stage.where_to_look()?);
        // Until the signal that ends the demo from outside.
        std::future::pending::<()>().await;
    } else {
        screen.say("Have a look yourself: `wasmesh demo --keep` leaves everything running and says where it is.");
    }
    stage.end().await?;
    Ok(code)
}

fn verdict(results: &[judge::Outcome], to_first_request: Option<Duration>) -> String {
    let sum = |count: fn(&Tally) -> u64| -> u64 {
        results.iter().map(|result| count(&result.changing) + count(&result.settled)).sum()
    };
    let (requests, errors) = (sum(|tally| tally.sent), sum(|tally| tally.errors));
    let failed: Vec<_> = results.iter().filter(|r| !r.complaints.is_empty()).map(|r| r.name).collect();
    let first = to_first_request.map_or_else(String::new, |time| {
        format!(" The first was answered {:.2} s after the demo began.", time.as_secs_f64())
    });
    match failed.as_slice() {
        [] => format!("{requests} requests through {} changes, none lost.{first}", results.len()),
        failed => format!("{requests} requests, {errors} errors; not as it must be: {}.{first}", failed.join(", ")),
    }
}

impl Stage {
    async fn set_up() -> anyhow::Result<Self> {
        let podinfo = backends::bind(&PODINFO_ADDRESSES, PODINFO_PORT)?;
        let nginx = backends::bind(&NGINX_ADDRESSES, NGINX_PORT)?;
        let addresses: Vec<SocketAddr> = podinfo.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        let addresses: [SocketAddr; 5] = addresses.try_into().map_err(|_| anyhow!("not five backends"))?;
        let nginx_port = nginx.first().context("no backend for nginx")?.local_addr()?.port();
        let mut backends = HashMap::new();
        for listener in podinfo.into_iter().chain(nginx) {
            backends.insert(listener.local_addr()?, Backend::serve(listener)?);
        }
        let folder = Folder::create(&addresses[..3], nginx_port)?;
        let mesh = Mesh::start(folder.path()).await?;
        Ok(Self { recorder: Arc::default(), folder, podinfo: addresses, backends, load: None, mesh })
    }

    /// Plays all phases. A request that fails is a result; an error is a mesh that cannot be changed at all.
    async fn play(&mut self, length: Duration, screen: &mut Screen) -> anyhow::Result<Vec<judge::Outcome>> {
        self.mesh.ready().await?;
        let plan = phases::plan(self.podinfo);
        let mut played = Vec::new();
        let mut changing = self.recorder.open();
        for (at, phase) in plan.iter().enumerate() {
            screen.begin(at + 1, plan.len(), phase);
            let change = self.apply(&phase.change).await;
            change.with_context(|| format!("phase {} cannot begin", phase.name))?;
            let settled = self.recorder.open();
            self.watch(phase, settled, length, screen).await;
            // The next phase begins at once: while the last requests of this one are waited for, the stream goes on.
            let next = self.recorder.open();
            let result = judge::judge(phase, self.all_of(changing).await, self.all_of(settled).await);
            changing = next;
            screen.end(&self.podinfo, phase, &result);
            played.push(result);
        }
        Ok(played)
    }

    async fn apply(&mut self, change: &Change) -> anyhow::Result<()> {
        let Self { folder, mesh, .. } = self;
        match change {
            Change::StartTraffic => {
                self.load = Some(Load::start(mesh.http_proxy()?, &self.recorder));
                Ok(())
            }
            Change::Endpoints(now) => mesh.change(|| folder.write_endpoints(now)).await,
            Change::Policy(policy) => mesh.change(|| folder.write_policy(policy)).await,
            Change::KillControlPlane { meanwhile } => {
                mesh.kill_control_plane().await?;
                folder.write_endpoints(meanwhile)
            }
            Change::RestartControlPlane => mesh.restart_control_plane(folder.path()).await,
            Change::Crash(backend) => {
                self.backends.remove(backend).context("no such backend")?.crash().await;
                Ok(())
            }
        }
    }

    /// Lets the stream of requests run for the length of a phase.
    async fn watch(&self, phase: &Phase, part: Part, length: Duration, screen: &mut Screen) {
        if !screen.is_live() {
            return sleep(length).await;
        }
        let mut frames = interval(FRAME);
        let _ = timeout(length, async {
            loop {
                frames.tick().await;
                screen.show(&self.podinfo, phase, &self.recorder.tally(part));
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

    fn where_to_look(&self) -> anyhow::Result<String> {
        let Self { mesh, folder, .. } = self;
        let proxy_admin = mesh.proxy_admin()?;
        Ok(format!(
            "Everything goes on until Ctrl-C. Where to look and what to try:\n\n    \
             wasmesh status --admin {proxy_admin}                 # the sidecar\n    \
             wasmesh endpoints podinfo --admin {proxy_admin}      # what it balances over\n    \
             wasmesh status --admin {}                 # the control plane\n    \
             curl -x http://{} http://podinfo.default/  # one more request\n    \
             $EDITOR {}          # change the endpoints\n",
            mesh.control_plane_admin(),
            mesh.http_proxy()?,
            folder.endpoints_file().display(),
        ))
    }

    /// Clients first, so that nobody is asked for what is no longer there.
    async fn end(self) -> anyhow::Result<()> {
        if let Some(load) = self.load {
            load.finish().await;
        }
        self.mesh.end().await?;
        let path = self.folder.path().to_owned();
        drop(self.folder);
        ensure!(!path.exists(), "{} could not be removed", path.display());
        Ok(())
    }
}
