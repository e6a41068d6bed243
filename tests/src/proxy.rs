//! A proxy on threads of its own.

use std::{
    net::SocketAddr,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use clap::Parser;
use serde_json::Value;
use tokio::sync::oneshot;
use wasmesh_proxy::{
    Listeners, Options,
    options::{Cli, Command},
    serve,
};

use crate::{Admin, Client, Connection, Response, fresh_ip, until};

/// A running proxy with an HTTP proxy listener.
pub struct Proxy {
    full_name: String,
    http: SocketAddr,
    admin: SocketAddr,
    dns: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one. `options` are those of `wasmesh-proxy run`; by default it has two workers and is patient with the
    /// first use of a Service, because a loaded machine may be slow and that is not what most tests are about.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(control_plane: &str, options: &[&str]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (named, options): (Vec<&str>, Vec<&str>) = options.iter().partition(|option| option.starts_with("--name="));
        let given = named.first().and_then(|option| option.strip_prefix("--name=")).map(str::to_owned);
        let name = given.unwrap_or_else(|| format!("proxy-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let namespace = options.iter().find_map(|option| option.strip_prefix("--namespace=")).unwrap_or("default");
        let full_name = format!("{namespace}/{name}");
        let ip = fresh_ip();
        let defaults = [
            "wasmesh-proxy".to_owned(),
            "run".to_owned(),
            format!("--name={name}"),
            format!("--control-plane={control_plane}"),
            format!("--http-proxy-listen={ip}:0"),
            format!("--admin-listen={ip}:0"),
            // A module that is new is fetched at once, and by a test, which is no program that could be its own child.
            "--module-jitter=0".to_owned(),
            "--compile-in-process".to_owned(),
        ];
        let patience = if options.iter().any(|o| o.starts_with("--first-use-wait")) { None } else { Some("20") };
        let patience = patience.map(|seconds| format!("--first-use-wait={seconds}"));
        let arguments = defaults.into_iter().chain(patience).chain(options.iter().map(|option| (*option).to_owned()));
        let Cli { command } = Cli::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}"));
        let Command::Run(options) = command else { panic!("these are the options of another command") };
        let (told, addresses) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || run(options, &told, stopped));
        let (http, admin, dns) = addresses.recv().expect("a proxy that has bound its addresses");
        Self { full_name, http, admin, dns, stop: Some(stop), thread: Some(thread) }
    }

    /// Its name in the control plane's status.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Where its HTTP proxy listens.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it answers DNS.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn dns(&self) -> SocketAddr {
        self.dns.expect("--dns-listen")
    }

    /// Its admin server.
    pub fn admin(&self) -> Admin {
        Admin(self.admin)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::of(self.http)
    }

    /// A connection to it.
    ///
    /// # Panics
    /// When it cannot be connected to.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        Connection::open(self.http).expect("the proxy accepts connections")
    }

    /// GETs a URL on a connection of its own.
    #[track_caller]
    pub fn get(&self, url: &str) -> Response {
        self.client().get(url)
    }

    /// Its debug page.
    #[track_caller]
    pub fn snapshot(&self) -> Value {
        self.admin().json("/debug/snapshot")
    }

    /// The endpoints of a Service that it holds, over all ports and families.
    pub fn endpoints(&self, service: &str) -> Vec<Value> {
        let page = self.admin().json(&format!("/debug/endpoints?service={service}"));
        page["services"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|s| s["endpoints"].as_array().cloned())
            .flatten()
            .collect()
    }

    /// What it knows of a Service.
    pub fn service(&self, name: &str) -> Option<Value> {
        let snapshot = self.snapshot();
        snapshot["services"].as_array()?.iter().find(|service| service["service"] == name).cloned()
    }

    /// Waits until its debug page is as it should be.
    #[track_caller]
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Value) -> bool) {
        until(what, || is_so(&self.snapshot()));
    }

    /// Asks it to drain and waits until it has.
    ///
    /// # Panics
    /// When it failed.
    pub fn stop(&mut self) {
        self.begin_drain();
        self.wait_ended();
    }

    /// Asks it to drain.
    pub fn begin_drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it has drained.
    ///
    /// # Panics
    /// When it failed.
    pub fn wait_ended(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the proxy ends without a panic");
        }
    }

    /// Whether it has drained.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn run(
    options: Options,
    told: &mpsc::Sender<(SocketAddr, SocketAddr, Option<SocketAddr>)>,
    stop: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listeners = Listeners::bind(&options).unwrap_or_else(|error| panic!("{error:#}"));
        let http = listeners.http_proxy.expect("an HTTP proxy listener");
        let dns = listeners.dns.first().map(|listener| listener.address);
        let _ = told.send((http, listeners.admin.local_addr().expect("an address"), dns));
        let shutdown = async {
            let _ = stop.await;
        };
        serve(options, listeners, shutdown).await.unwrap_or_else(|error| panic!("{error:#}"));
    });
}
