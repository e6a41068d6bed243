//! One worker: a thread with its own listeners, cells and connection pools. Workers share nothing but the world and
//! the load of endpoints.

mod accept;
mod attempts;
mod cell;
mod listener;
mod original_destination;
mod routing;

use std::{
    cell::{Cell as StdCell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use wasmesh_core::{
    ejection::EjectionRule,
    name::ServiceName,
    policy::Balancer,
    route::MeshRoute,
    service::{Affinity, Family},
};
use wasmesh_telemetry::Metrics;

use crate::{
    backlog,
    clock::now_us,
    drain::Drain,
    http::Buffers,
    limits::Limits,
    owners::Sightings,
    policy::{
        notes::{Order, Place},
        seat::{Deliveries, Seat},
    },
    throttle::Throttle,
    world::{Late, LiveService, Subscribe, World, Worlds},
};

pub use attempts::{Attempts, NoMore, Past};
pub use cell::{Cell, Onward, Pick, Picked, Slot, Tried};
use cell::{Port, SessionAffinity};
pub use listener::{ListenerKind, WorkerListener, bind_all};
pub use routing::Routed;

/// What every worker is told.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Where worlds come from.
    pub worlds: Worlds,
    /// Where to ask for endpoints.
    pub wanted: mpsc::Sender<Subscribe>,
    /// The proxy's own listeners, to recognise loops.
    pub own_listeners: Arc<[SocketAddr]>,
    /// When to stop.
    pub drain: Drain,
    /// For durations.
    pub metrics: Metrics,
    /// Where it is noted where passed-through connections went.
    pub sightings: Sightings,
    /// Where a bare Service name is looked up.
    pub namespace: Arc<str>,
    /// Domain of the cluster's names.
    pub cluster_domain: Arc<str>,
    /// For connections to endpoints.
    pub connect_timeout: Duration,
    /// For connections of clients without a complete request head.
    pub client_idle_timeout: Duration,
    /// For the first use of a Service.
    pub first_use_wait: Duration,
    /// When failing endpoints are ejected.
    pub ejection: EjectionRule,
    /// What is done at most.
    pub limits: Limits,
    /// Hash of who this pod is: where a Service with session affinity begins.
    pub identity: u64,
}

/// A worker's state. Lives on one thread, is borrowed only between awaits.
pub struct Worker {
    pub(crate) config: WorkerConfig,
    worlds: RefCell<Worlds>,
    world: RefCell<Arc<World>>,
    /// Grows with every world.
    epoch: StdCell<u64>,
    cells: RefCell<HashMap<CellKey, Rc<Cell>>>,
    /// Where users' policies sit. A seat outlives its cell, which is made anew with every change.
    seats: RefCell<HashMap<CellKey, Rc<Seat>>>,
    deliveries: Deliveries,
    random: RefCell<fastrand::Rng>,
    late: RefCell<Late>,
    /// Bodies on their way.
    pub(crate) buffers: Buffers,
    /// What was logged of the proxy's own answers lately.
    complaints: RefCell<Throttle>,
    /// Accept errors come in bursts; one log line a second is enough.
    last_accept_error_us: StdCell<u64>,
}

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// Names a cell: one Service port over one family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CellKey {
    /// The Service.
    pub service: ServiceName,
    /// Which of its ports, by its place in the declaration.
    pub port: usize,
    /// The family.
    pub family: Family,
}

/// Runs a worker on this thread until the proxy stops.
pub fn run(
    config: WorkerConfig,
    listeners: Vec<WorkerListener>,
    orders: mpsc::UnboundedReceiver<Order>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    backlog::set_room(config.limits.buffered_bytes);
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let worker = Rc::new(Worker::new(config));
        for listener in listeners {
            let listening = listener.into_tokio()?;
            tokio::task::spawn_local(accept::run(Rc::clone(&worker), listening));
        }
        tokio::task::spawn_local(Rc::clone(&worker).follow_worlds());
        tokio::task::spawn_local(Rc::clone(&worker).follow_orders(orders));
        tokio::task::spawn_local(Rc::clone(&worker).sweep());
        tokio::task::spawn_local(worker.deliveries.clone().run());
        worker.config.drain.stopped().await;
        Ok(())
    })
}

impl Worker {
    fn new(config: WorkerConfig) -> Self {
        let mut worlds = config.worlds.clone();
        let world = worlds.borrow_and_update().clone();
        let buffers = Buffers::new(config.limits.buffered_bytes);
        Self {
            config,
            buffers,
            worlds: RefCell::new(worlds),
            world: RefCell::new(world),
            epoch: StdCell::new(0),
            cells: RefCell::default(),
            seats: RefCell::default(),
            deliveries: Deliveries::default(),
            random: RefCell::new(fastrand::Rng::new()),
            late: RefCell::default(),
            complaints: RefCell::default(),
            last_accept_error_us: StdCell::new(0),
        }
    }

    /// The newest world. Looked at by each request: once a world has been published, and so before its update is
    /// acknowledged, nobody picks from an older one.
    pub(crate) fn world(&self) -> Arc<World> {
        self.epoch();
        Arc::clone(&self.world.borrow())
    }

    /// Which world that is.
    fn epoch(&self) -> u64 {
        // A closed channel means that the process is ending; the last world serves.
        if self.worlds.borrow().has_changed().unwrap_or(false) {
            let world = self.worlds.borrow_mut().borrow_and_update().clone();
            self.epoch.set(self.epoch.get() + 1);
            self.keep_cells_of(&world);
            *self.world.borrow_mut() = world;
        }
        self.epoch.get()
    }

    /// Whether a cell is that of the newest world still.
    pub(crate) fn is_newest(&self, cell: &Cell) -> bool {
        cell.epoch() == self.epoch()
    }

    /// Takes up worlds also while no request comes, so that connections to endpoints that are gone are closed.
    async fn follow_worlds(self: Rc<Self>) {
        let mut worlds = self.config.worlds.clone();
        while worlds.changed().await.is_ok() {
            worlds.mark_unchanged();
            self.world();
        }
    }

    /// Now and then closes connections that endpoints have closed, or that nobody has used for long.
    /// Closes all connections to endpoints that nobody uses at the moment: somebody else needs their file descriptors.
    pub(crate) fn close_idle(&self) {
        self.cells.borrow().values().for_each(|cell| cell.close_idle());
    }

    async fn sweep(self: Rc<Self>) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.cells.borrow().values().for_each(|cell| cell.sweep());
        }
    }

    /// Brings every cell up to the world: cells of what is no longer live go, and their idle connections with them.
    fn keep_cells_of(&self, world: &World) {
        self.cells.borrow_mut().retain(|key, cell| {
            let Some((service, balancer)) = found(world, key) else { return false };
            if !Arc::ptr_eq(balancer, cell.balancer())
                && let Some(next) = self.new_cell(world, key, service, balancer, Some(cell))
            {
                *cell = Rc::new(next);
            }
            cell.stays_in(self.epoch.get());
            true
        });
        let cells = self.cells.borrow();
        self.seats.borrow_mut().retain(|key, seat| cells.contains_key(key) || !seat.is_empty());
    }

    /// The cell of a route in the present world; `None` if the Service's endpoints are not held.
    fn cell(&self, route: &MeshRoute) -> Option<Rc<Cell>> {
        let world = self.world();
        let key = CellKey { service: route.entry.spec.name.clone(), port: route.port, family: route.family };
        let (service, balancer) = found(&world, &key)?;
        service.touch(now_us());
        if let Some(cell) = self.cells.borrow().get(&key) {
            return Some(Rc::clone(cell));
        }
        let cell = Rc::new(self.new_cell(&world, &key, service, balancer, None)?);
        self.cells.borrow_mut().insert(key, Rc::clone(&cell));
        Some(cell)
    }

    /// The same cell in the present world, or as it was if the Service is gone: what is under way may end.
    fn newest(&self, cell: &Rc<Cell>) -> Rc<Cell> {
        if self.is_newest(cell) {
            return Rc::clone(cell);
        }
        self.cells.borrow().get(cell.key()).map_or_else(|| Rc::clone(cell), Rc::clone)
    }

    fn new_cell(
        &self,
        world: &World,
        key: &CellKey,
        service: &Arc<LiveService>,
        balancer: &Arc<Balancer>,
        before: Option<&Cell>,
    ) -> Option<Cell> {
        let spec = &world.table.get(&key.service)?.entry.value.spec;
        let affinity = match spec.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout_seconds } => Some(SessionAffinity {
                pin: service.pin(&spec.ports.get(key.port)?.name, key.family),
                client: self.config.identity,
                timeout_us: u64::from(timeout_seconds) * 1_000_000,
            }),
        };
        let seed = self.random();
        let port = Port { key, spec, service, balancer };
        let cell = Cell::new(port, before, affinity, seed, self.seat(key), &self.config.metrics);
        cell.stays_in(self.epoch.get());
        Some(cell)
    }

    fn seat(&self, key: &CellKey) -> Rc<Seat> {
        let mut seats = self.seats.borrow_mut();
        Rc::clone(seats.entry(key.clone()).or_insert_with(|| Rc::new(Seat::new(&self.deliveries))))
    }

    /// Does what the keeper of policies says.
    async fn follow_orders(self: Rc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Seat(fitted, seated) => {
                    // An instance that knows of a world is not asked before the worker knows of it too.
                    self.world();
                    let before = self.seat(&fitted.place.cell).install(fitted);
                    // Who asked may have given up.
                    let _ = seated.send(before);
                }
                Order::Clear(place) => self.clear(&place),
                Order::Snapshot(place, reply) => {
                    let seat = self.seats.borrow().get(&place.cell).map(Rc::clone);
                    // A worker that was busy for so long does not copy for nothing.
                    if !reply.is_closed() {
                        let _ = reply.send(seat.and_then(|seat| seat.snapshot(place.role)));
                    }
                }
                Order::Explain(place, reply) => {
                    let seat = self.seats.borrow().get(&place.cell).map(Rc::clone);
                    if !reply.is_closed() {
                        let _ = reply.send(seat.map(|seat| seat.last()));
                    }
                }
                Order::EndRecording(place) => {
                    self.seats.borrow().get(&place.cell).iter().for_each(|seat| seat.end_recording(place.role));
                }
            }
        }
    }

    fn clear(&self, place: &Place) {
        self.world();
        let mut seats = self.seats.borrow_mut();
        if let Some(seat) = seats.get(&place.cell) {
            seat.clear(place.role);
            if seat.is_empty() && !self.cells.borrow().contains_key(&place.cell) {
                seats.remove(&place.cell);
            }
        }
    }

    /// Whether a log line of this kind is due again.
    pub(crate) fn may_complain(&self, about: &str) -> bool {
        self.complaints.borrow_mut().is_due(about, now_us())
    }

    /// 64 random bits.
    pub(crate) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }
}

/// What a cell is made of; `None` if the Service's endpoints are not held, or there are none for it.
fn found<'a>(world: &'a World, key: &CellKey) -> Option<(&'a Arc<LiveService>, &'a Arc<Balancer>)> {
    let service = world.live.get(&key.service)?;
    Some((service, service.balancer(key.port, key.family)?))
}
