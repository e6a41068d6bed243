//! A control plane on a thread of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use clap::Parser;
use serde_json::Value;
use tokio::sync::oneshot;
use wasmesh_control_plane::{Listeners, Options, serve_behind, server::Door};

use crate::{Admin, eventually, fresh_ip, until};

/// A running, or stopped, control plane. It keeps its addresses over restarts.
pub struct ControlPlane {
    source: PathBuf,
    name: String,
    options: Vec<String>,
    door: Option<Doors>,
    has_tls: bool,
    discovery: SocketAddr,
    admin: SocketAddr,
    running: Option<Running>,
}

/// Makes the door of a control plane that listens there.
type Doors = Box<dyn Fn(SocketAddr) -> Door + Send + Sync>;

struct Running {
    stop: oneshot::Sender<Stop>,
    thread: JoinHandle<()>,
}

enum Stop {
    Gracefully,
    AtOnce,
}

impl ControlPlane {
    /// Starts one that reads this folder.
    pub fn start(source: &Path) -> Self {
        Self::named("control-plane", source)
    }

    /// Starts one with this name, by which replicas are told apart.
    pub fn named(name: &str, source: &Path) -> Self {
        Self::with(name, source, &[], None)
    }

    /// Starts one with this door, which is made anew for each start, and options of `wasmesh-control-plane`.
    pub fn behind(door: impl Fn(SocketAddr) -> Door + Send + Sync + 'static, source: &Path, options: &[&str]) -> Self {
        Self::with("control-plane", source, options, Some(Box::new(door)))
    }

    fn with(name: &str, source: &Path, options: &[&str], door: Option<Doors>) -> Self {
        let ip = fresh_ip();
        let mut control_plane = Self {
            source: source.to_owned(),
            name: name.to_owned(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            door,
            has_tls: false,
            discovery: (ip, 0).into(),
            admin: (ip, 0).into(),
            running: None,
        };
        control_plane.restart();
        control_plane
    }

    /// The URL for proxies.
    pub fn url(&self) -> String {
        let scheme = if self.has_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.discovery)
    }

    /// Where proxies connect.
    pub fn discovery(&self) -> SocketAddr {
        self.discovery
    }

    /// Its admin server.
    pub fn admin(&self) -> Admin {
        Admin(self.admin)
    }

    /// How many snapshots it has published.
    pub fn sequence(&self) -> u64 {
        self.admin().sequence()
    }

    /// How the proxy of this name stands with it.
    pub fn stream(&self, proxy: &str) -> Option<Value> {
        self.admin().stream(proxy)
    }

    /// Waits until a proxy has acknowledged everything that has been published.
    #[track_caller]
    pub fn wait_current(&self, proxy: &str) {
        until(&format!("{proxy} is current"), || self.admin().is_current(proxy));
    }

    /// Waits until something new has been published since this sequence number.
    #[track_caller]
    pub fn wait_published_after(&self, sequence: u64) {
        until("the change is published", || self.sequence() > sequence);
    }

    /// Ends it as SIGTERM would.
    pub fn stop(&mut self) {
        self.end(Stop::Gracefully);
    }

    /// Ends it without a word: its connections are closed.
    pub fn kill(&mut self) {
        self.end(Stop::AtOnce);
    }

    fn end(&mut self, how: Stop) {
        if let Some(Running { stop, thread }) = self.running.take() {
            let _ = stop.send(how);
            thread.join().expect("the control plane ends without a panic");
        }
    }

    /// Starts it again, on the same addresses, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let arguments = [
            "wasmesh-control-plane".to_owned(),
            format!("--source={}", self.source.display()),
            format!("--name={}", self.name),
            format!("--discovery-listen={}", self.discovery),
            format!("--admin-listen={}", self.admin),
        ];
        let arguments = arguments.into_iter().chain(self.options.iter().cloned());
        let door = self.door.as_ref().map_or_else(Door::open, |door| door(self.discovery));
        self.has_tls = door.tls.is_some();
        let options = Options::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}"));
        let (told, addresses) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || run(door, options, &told, stopped));
        (self.discovery, self.admin) = addresses.recv().expect("a control plane that has bound its addresses");
        self.running = Some(Running { stop, thread });
        eventually("the control plane is ready", || self.admin().is_ready().then_some(()));
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(Running { stop, .. }) = self.running.take() {
            let _ = stop.send(Stop::AtOnce);
        }
    }
}

fn run(door: Door, options: Options, told: &mpsc::Sender<(SocketAddr, SocketAddr)>, stop: oneshot::Receiver<Stop>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listeners = Listeners::bind(&options).unwrap_or_else(|error| panic!("{error:#}"));
        let address = |listener: &tokio::net::TcpListener| listener.local_addr().expect("an address");
        let _ = told.send((address(&listeners.discovery), address(&listeners.admin)));
        let (graceful, gracefully) = oneshot::channel::<()>();
        let at_once = async {
            match stop.await {
                Ok(Stop::Gracefully) => {
                    let _ = graceful.send(());
                    std::future::pending::<()>().await;
                }
                Ok(Stop::AtOnce) | Err(_) => {}
            }
        };
        let serving = serve_behind(door, options, listeners, async {
            let _ = gracefully.await;
        });
        tokio::select! {
            ended = serving => ended.unwrap_or_else(|error| panic!("{error:#}")),
            () = at_once => {}
        }
    });
}
