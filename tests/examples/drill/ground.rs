//! The ground of a drill: a mesh of real processes in a namespace, the pods of a Service, and clients that ask without end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use wasmesh_tests::{
    EndpointManifest, Folder, MANIFEST, Policy, Service, Switch, fresh_ip, netns::Netns, process::Process, runtime,
    until,
};

use crate::{
    black_hole::BlackHole,
    endpoint::{Endpoint, Mood},
    ledger::{Ledger, Place, Summary},
    memory_limit::MemoryLimit,
    places::Places,
    protocol::{self, Protocol},
    tap::Tap,
};

/// The Service's address; it exists nowhere.
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Where pods have theirs.
pub(crate) const PODS: &str = "10.1.0.0/16";

/// How many clients there are of each kind, and how long each of them pauses.
const CLIENTS: [(Protocol, usize); 3] = [(Protocol::Http, 6), (Protocol::Grpc, 1), (Protocol::Tcp, 3)];
const PAUSE: Duration = Duration::from_millis(5);

/// How long all must have been as it should be to be believed.
const CALM: Duration = Duration::from_secs(1);
/// How long that may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than what has come to a pod lies there unread.
const AFTER_TAP: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// What the API says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Ready,
    Terminating,
}

/// The ground.
pub(crate) struct Ground<'a> {
    pub(crate) netns: &'a Netns,
    pub(crate) folder: Folder,
    pub(crate) control_plane: Option<Process>,
    /// Between control plane and proxy.
    pub(crate) link: Switch,
    pub(crate) proxy: Process,
    pub(crate) places: Places,
    pub(crate) random: fastrand::Rng,
    ledger: Arc<Ledger>,
    endpoints: BTreeMap<Place, Endpoint>,
    listed: BTreeMap<Place, Listed>,
    /// Services beside the one that is drilled.
    others: Vec<Service>,
    discovery: SocketAddr,
    clients: Vec<JoinHandle<()>>,
    next: Place,
    /// Whose packets are lost.
    swallowed: Option<(Place, BlackHole<'a>)>,
    /// Of pods that do not say themselves who was on the way to them.
    taps: BTreeMap<Place, Tap>,
    /// Goes when the proxy has gone.
    limit: Option<MemoryLimit>,
}

/// How a proxy is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Like any other.
    Usual,
    /// With these options of `wasmesh-proxy run`.
    Options(&'static [&'static str]),
    /// The same, and only clients that keep their connections.
    Kept(&'static [&'static str]),
    /// With a clock that can be turned.
    Clock,
    /// With so many file descriptors and no more.
    Files(u32),
    /// With little room for compiled modules.
    SmallDisk,
}

impl<'a> Ground<'a> {
    /// Three endpoints, and clients that all get answers.
    pub(crate) fn start(netns: &'a Netns, seed: u64, setting: Setting) -> Self {
        let folder = Folder::default();
        let control_plane = Process::control_plane(folder.path(), (fresh_ip(), 0).into());
        let discovery = control_plane.address("discovery");
        let link = Switch::to(discovery);
        let mut places = Places::default();
        let proxy = start_proxy(netns, &link, &mut places, setting);
        let mut ground = Self {
            netns,
            folder,
            control_plane: Some(control_plane),
            link,
            proxy,
            places,
            random: fastrand::Rng::with_seed(seed),
            ledger: Arc::default(),
            endpoints: BTreeMap::new(),
            listed: BTreeMap::new(),
            others: Vec::new(),
            discovery,
            clients: Vec::new(),
            next: 0,
            swallowed: None,
            taps: BTreeMap::new(),
            limit: None,
        };
        for _ in 0..3 {
            ground.add(Listed::Ready);
        }
        ground.publish();
        until("the proxy knows the Service", || ground.proxy.admin().metric("wasmesh_services", &[]) >= 1.0);
        let keeps = |protocol| protocol != Protocol::Tcp || !matches!(setting, Setting::Kept(_));
        for (protocol, count) in CLIENTS.into_iter().filter(|(protocol, _)| keeps(*protocol)) {
            for _ in 0..count {
                let to = ground.address(protocol);
                let asking = protocol::ask(protocol, to, PAUSE, Arc::clone(&ground.ledger));
                ground.clients.push(runtime().spawn(asking));
            }
        }
        ground
    }

    /// Where the Service is.
    #[allow(clippy::unused_self, reason = "it is the ground that has one")]
    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        (VIP, protocol.port()).into()
    }

    /// Where proxies find the control plane.
    pub(crate) fn discovery(&self) -> SocketAddr {
        self.discovery
    }

    /// Has clients ask the proxy for the Service's name as well.
    pub(crate) fn ask_names(&mut self, server: SocketAddr) {
        for _ in 0..2 {
            let ledger = Arc::clone(&self.ledger);
            let asking = async move {
                protocol::dns::ask(server, "drilled.default.svc.cluster.local.", VIP, PAUSE, &ledger).await;
            };
            self.clients.push(runtime().spawn(asking));
        }
    }

    /// Puts a policy in front of the Service.
    pub(crate) fn apply(&self, policy: &Policy) {
        self.folder.put_policy(&policy.clone().target("drilled"));
    }

    /// A pod that is well. It is listed with the next [`publish`](Self::publish).
    pub(crate) fn add(&mut self, listed: Listed) -> Place {
        let place = self.next;
        self.next += 1;
        let [high, low] = u16::try_from(place + 1).expect("few endpoints").to_be_bytes();
        self.endpoints.insert(place, Endpoint::start(place, Ipv4Addr::new(10, 1, high, low), &self.ledger));
        self.listed.insert(place, listed);
        place
    }

    /// The pods that are listed as ready.
    pub(crate) fn ready(&self) -> Vec<Place> {
        self.listed.iter().filter(|(_, listed)| **listed == Listed::Ready).map(|(place, _)| *place).collect()
    }

    /// The pods that are listed as terminating.
    pub(crate) fn terminating(&self) -> Vec<Place> {
        self.listed.iter().filter(|(_, listed)| **listed == Listed::Terminating).map(|(place, _)| *place).collect()
    }

    /// A pod that is not listed any more is gone for good.
    pub(crate) fn forget(&mut self, place: Place) {
        self.endpoints.remove(&place);
    }

    /// One of the pods that are listed as ready.
    pub(crate) fn any(&mut self) -> Place {
        let ready = self.ready();
        ready[self.random.usize(..ready.len())]
    }

    /// Another Service, from now on.
    pub(crate) fn also(&mut self, service: Service) {
        self.others.push(service);
        self.publish();
    }

    /// Says something else of a pod with the next [`publish`](Self::publish), or nothing more.
    pub(crate) fn list(&mut self, place: Place, listed: Option<Listed>) {
        match listed {
            Some(listed) => self.listed.insert(place, listed),
            None => self.listed.remove(&place),
        };
    }

    /// Writes what is listed into the control plane's folder.
    pub(crate) fn publish(&self) {
        self.folder.put(self.others.iter().chain([&self.service()]));
        self.kube_proxy();
        self.expect();
    }

    /// What the cluster does without us: whatever the proxy passes through to the Service's address is led to any pod that is ready.
    fn kube_proxy(&self) {
        let ready = self.ready();
        let pods: Vec<_> = ready.iter().enumerate().map(|(at, place)| format!("{at} : {}", self.ip(*place))).collect();
        let rule = match &pods[..] {
            [] => String::new(),
            pods => format!("ip daddr {VIP} dnat to numgen random mod {} map {{ {} }}", pods.len(), pods.join(", ")),
        };
        self.netns.nft(&format!(
            "table ip kube_proxy {{}}\nflush table ip kube_proxy\ntable ip kube_proxy {{ chain output {{ \
             type nat hook output priority -90; policy accept; {rule}; }}; }}\n"
        ));
    }

    /// From now on a pod behaves so.
    pub(crate) fn set(&mut self, place: Place, mood: Mood) {
        if mood.breaks() {
            self.taps.insert(place, Tap::new(self.ip(place), &self.ledger));
            // What had come before it listened is read by then.
            self.pass(AFTER_TAP);
        } else {
            self.taps.remove(&place);
        }
        if let Some(endpoint) = self.endpoints.get(&place) {
            endpoint.set(mood);
        }
        // What it had in its mouth when it died nobody has heard.
        self.ledger.unheard((mood == Mood::Dead).then_some(place));
        self.expect();
    }

    /// Nobody can reach a pod from now on.
    pub(crate) fn swallow(&mut self, place: Place) {
        self.swallowed = Some((place, BlackHole::new(self.netns, self.ip(place), &self.ledger)));
        self.ledger.unheard(Some(place));
        self.expect();
    }

    /// Packets come through again.
    pub(crate) fn spit_out(&mut self) {
        self.swallowed = None;
        self.ledger.unheard(None);
        self.expect();
    }

    /// Keeps a limit of the proxy's for as long as that runs.
    pub(crate) fn keep(&mut self, limit: MemoryLimit) {
        self.limit = Some(limit);
    }

    /// Where a pod is.
    pub(crate) fn ip(&self, place: Place) -> Ipv4Addr {
        self.endpoints[&place].ip
    }

    /// The Service as it is listed.
    pub(crate) fn service(&self) -> Service {
        let [http, others @ ..] = Protocol::ALL;
        debug_assert_eq!(http.port(), 80, "a Service has this port from the start");
        let service = Service::new("drilled").vip(VIP);
        let service = others.iter().fold(service, |service, other| service.port(other.port_name(), other.port()));
        service.endpoints(self.listed.iter().flat_map(|(place, listed)| {
            Protocol::ALL.map(|protocol| {
                let address = SocketAddr::from((self.endpoints[place].ip, protocol.port()));
                let endpoint = EndpointManifest::from(address).port(protocol.port_name());
                if *listed == Listed::Terminating { endpoint.terminating() } else { endpoint }
            })
        }))
    }

    /// Writes a manifest's first half only, as somebody does who is interrupted.
    pub(crate) fn publish_half(&self) {
        self.publish();
        let path = self.folder.path().join(MANIFEST);
        let text = fs::read_to_string(&path).expect("what was written a moment ago");
        self.folder.write(MANIFEST, &text[..text.len() / 2]);
    }

    /// Takes all that there is from the control plane's folder.
    pub(crate) fn clear_folder(&self) {
        fs::remove_file(self.folder.path().join(MANIFEST)).expect("a manifest");
    }

    /// Starts a control plane with this folder where the first one was.
    pub(crate) fn restart_control_plane(&mut self) {
        // The one before must have ended: it has the address.
        self.control_plane = None;
        self.control_plane = Some(Process::control_plane(self.folder.path(), self.discovery));
    }

    /// Lets so many requests be answered.
    pub(crate) fn answers(&self, count: u64) {
        let before = self.ledger.answers();
        until("requests are answered", || self.ledger.answers() >= before + count);
    }

    /// Lets time pass, as an operator or a kubelet does.
    #[allow(clippy::unused_self, reason = "time passes on the ground")]
    pub(crate) fn pass(&self, time: Duration) {
        sleep(time);
    }

    /// Whatever was seen so far is no evidence any more.
    pub(crate) fn look_anew(&self) {
        self.ledger.look_anew();
    }

    /// Waits until all is as it should be, and tells since when it is.
    pub(crate) fn steady(&self) -> Result<Instant, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(since) = self.ledger.steady_since().filter(|since| since.elapsed() >= CALM) {
                return Ok(since);
            }
            if Instant::now() >= deadline {
                return Err(format!("not steady within {PATIENCE:?}"));
            }
            sleep(BETWEEN_LOOKS);
        }
    }

    /// Lets clients end what they have begun.
    pub(crate) fn end(&mut self) -> Summary {
        self.ledger.close();
        for client in self.clients.drain(..) {
            let ended = runtime().block_on(async { tokio::time::timeout(PATIENCE, client).await });
            // One that hangs has a request under way, which counts.
            drop(ended);
        }
        self.ledger.sum()
    }

    /// Who should get requests now: those that are listed and well; while none is ready, those that still serve.
    fn expect(&self) {
        let listed = |as_what| {
            let listed = self.listed.iter().filter(move |(_, listed)| **listed == as_what).map(|(place, _)| *place);
            listed.collect::<BTreeSet<_>>()
        };
        let ready = listed(Listed::Ready);
        let candidates = if ready.is_empty() { listed(Listed::Terminating) } else { ready };
        let is_well = |place: &Place| {
            self.endpoints[place].mood().is_well()
                && self.swallowed.as_ref().is_none_or(|(swallowed, _)| swallowed != place)
        };
        let well: BTreeSet<_> = candidates.into_iter().filter(is_well).collect();
        let is_any = !well.is_empty();
        self.ledger.expect(well, is_any);
    }
}

fn start_proxy(netns: &Netns, link: &Switch, places: &mut Places, setting: Setting) -> Process {
    let (url, name) = (link.url(), "drilled");
    match setting {
        Setting::Usual => netns.proxy(&url, name),
        Setting::Options(options) | Setting::Kept(options) => netns.proxy_with(&url, name, options),
        Setting::Clock => netns.proxy_by(&places.clock(), &url, name),
        Setting::Files(files) => netns.proxy_by(&["prlimit".to_owned(), format!("--nofile={files}")], &url, name),
        Setting::SmallDisk => {
            let cache = places.small_disk();
            netns.proxy_with(&url, name, &["--module-cache", cache.to_str().expect("a path of ours")])
        }
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}
