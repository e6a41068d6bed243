//! The keeper of policies: sees to it that in every cell of every worker sits what the world declares.
//!
//! It runs on a thread of its own. Workers send it notes and get orders; nothing on a request's path waits for it. Until a
//! new program is ready, and if it never is, the one before goes on with each new list of endpoints.

mod wishes;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use wasmesh_core::{
    name::ServiceName,
    policy::{Allowed, Balancer, TrialMode, WasmPolicy, WasmProgram},
    service::Family,
};
use wasmesh_policy_host::Policy;
use wasmesh_policy_recording::Recorder;
use wasmesh_proto::wire;

use super::{
    fit::{Fitter, Fitting},
    fitted::{Fitted, count_fault},
    modules::{Modules, Unready},
    notes::{Copied, Note, Order, Place},
    record::{Record, Role},
    recording::UnderWay,
    status::{self, PolicyStatus},
    wishes::Wish,
};
use crate::{
    clock::now_us,
    events,
    worker::CellKey,
    world::{LiveService, World, Worlds},
};

/// How long a worker may take to say what state an instance is in. It answers between two requests; one that does not has
/// other worries, and the new instance begins without it.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_millis(100);

/// How long is waited for workers to seat what they were sent, before it is said to decide.
const SEATING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long to wait before something that failed for want of the control plane is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How often counts are looked at for the report to the control plane.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A program that the world wants on a Service port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Post {
    pub(super) service: ServiceName,
    pub(super) port: String,
    pub(super) role: Role,
}

/// What is declared for a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// The object's name.
    pub(super) policy: String,
    pub(super) program: WasmProgram,
    pub(super) allow: Allowed,
    /// Of a trial.
    pub(super) mode: Option<TrialMode>,
    pub(super) abort_on_faults: Option<u32>,
}

/// A post and who holds it.
pub(super) struct Held {
    /// What serves.
    pub(super) present: Option<Ready>,
    /// What is to serve instead.
    pub(super) next: Option<Next>,
}

/// A program that may serve.
pub(super) struct Ready {
    pub(super) declared: Declared,
    pub(super) policy: Arc<Policy>,
    pub(super) record: Arc<Record>,
    /// Why some place has no instance, though the program could serve; empty if all have one.
    pub(super) refused_list: String,
    /// Where what happens is written down, while somebody wants that.
    recording: Option<UnderWay>,
}

/// A program on its way.
pub(super) struct Next {
    pub(super) declared: Declared,
    pub(super) state: NextState,
    /// How often it could not be had.
    failed: u32,
}

pub(super) enum NextState {
    Loading,
    /// Could not be had; tried again at this time.
    Waiting(String, Instant),
    Rejected(String),
}

/// What was done about a place.
struct Seated {
    policy: Arc<Policy>,
    balancer: Arc<Balancer>,
    state: Seat,
}

/// What sits in a place.
enum Seat {
    /// An instance with the list of the balancer.
    Taken,
    /// Nobody: the instance has failed.
    Dead,
    /// Nobody: the list was refused, or the instance could not be made of it.
    Refused {
        why: String,
        /// When it is tried again with the same list; never, if the program has said no.
        again_at: Option<Instant>,
    },
}

/// What came of making a program ready.
struct Prepared {
    post: Post,
    declared: Declared,
    result: Result<Arc<Policy>, Unready>,
}

/// One cell that wants programs.
struct Wanted<'a> {
    cell: CellKey,
    port_name: &'a str,
    port_number: u16,
    policy: &'a Arc<WasmPolicy>,
    service: &'a Arc<LiveService>,
    balancer: &'a Arc<Balancer>,
}

/// Everything the keeper works with.
pub struct Keeper {
    /// What the world declares.
    pub worlds: Worlds,
    /// The way to each worker.
    pub workers: Vec<mpsc::UnboundedSender<Order>>,
    /// What workers say.
    pub notes: mpsc::UnboundedReceiver<Note>,
    /// Where programs come from.
    pub modules: Modules,
    /// Makes instances.
    pub fitter: Fitter,
    /// Hash of the pod: whether it takes part in trials.
    pub identity: u64,
    /// What the control plane is told.
    pub status: watch::Sender<PolicyStatus>,
    /// What people want to see.
    pub wishes: mpsc::UnboundedReceiver<Wish>,
    /// Who this proxy is, as recordings say it.
    pub name: String,
}

impl Keeper {
    /// Runs for ever.
    pub async fn run(self) {
        let (prepared, mut ready) = mpsc::unbounded_channel();
        let Self { mut worlds, workers, mut notes, modules, fitter, identity, status, mut wishes, name } = self;
        let mut office = Office::new(workers, modules, fitter, identity, prepared);
        let mut told_at = Instant::now();
        loop {
            let world = worlds.borrow_and_update().clone();
            let again_at = office.reconcile(&world).await;
            // What happens is told at once; what is only counted, now and then.
            let states = status::report(&office.posts);
            if told_at.elapsed() >= REPORT_EVERY || !same_but_for_counts(&status.borrow().report, &states) {
                told_at = Instant::now();
                let states = PolicyStatus { generation: world.generation, report: states };
                status.send_if_modified(|before| std::mem::replace(before, states.clone()) != states);
            } else {
                status.send_if_modified(|before| {
                    std::mem::replace(&mut before.generation, world.generation) != world.generation
                });
            }
            let quiet = office.posts.is_empty();
            let wake_at = if quiet {
                again_at
            } else {
                Some(again_at.unwrap_or(told_at + REPORT_EVERY).min(told_at + REPORT_EVERY))
            };
            tokio::select! {
                changed = worlds.changed() => if changed.is_err() { return },
                Some(note) = notes.recv() => office.note(note),
                Some(prepared) = ready.recv() => office.take(prepared),
                Some(wish) = wishes.recv() => office.grant(&world, &name, wish).await,
                () = sleep_until(wake_at.unwrap_or(told_at)), if wake_at.is_some() => {}
            }
            while let Ok(note) = notes.try_recv() {
                office.note(note);
            }
        }
    }
}

struct Office {
    workers: Vec<mpsc::UnboundedSender<Order>>,
    modules: Modules,
    fitter: Fitter,
    identity: u64,
    prepared: mpsc::UnboundedSender<Prepared>,
    posts: BTreeMap<Post, Held>,
    seats: HashMap<Place, Seated>,
    /// Workers that have been sent something to seat.
    seating: Vec<oneshot::Receiver<Option<Box<Fitted>>>>,
}

impl Office {
    fn new(
        workers: Vec<mpsc::UnboundedSender<Order>>,
        modules: Modules,
        fitter: Fitter,
        identity: u64,
        prepared: mpsc::UnboundedSender<Prepared>,
    ) -> Self {
        let (posts, seats, seating) = Default::default();
        Self { workers, modules, fitter, identity, prepared, posts, seats, seating }
    }

    /// Brings posts and seats up to the world. Returns when to look again even if nothing happens.
    async fn reconcile(&mut self, world: &World) -> Option<Instant> {
        let wanted = wanted(world);
        let mut declared: BTreeMap<Post, (u16, Declared)> = BTreeMap::new();
        for wanted in &wanted {
            for role in [Role::Serving, Role::Trial] {
                if let Some(is) = self.declared(wanted, role) {
                    declared.insert(wanted.post(role), (wanted.port_number, is));
                }
            }
        }
        self.posts.retain(|post, _| declared.contains_key(post));
        let mut again = self.end_recordings(&wanted);
        for (post, (port_number, declared)) in &declared {
            if let Some(at) = self.fill(post, *port_number, declared) {
                again = Some(again.map_or(at, |earlier: Instant| earlier.min(at)));
            }
        }
        let mut places = std::collections::HashSet::new();
        for wanted in &wanted {
            for role in [Role::Serving, Role::Trial] {
                let post = wanted.post(role);
                for worker in 0..self.workers.len() {
                    let place = Place { worker, cell: wanted.cell.clone(), role };
                    if self.posts.get(&post).is_some_and(|held| held.present.is_some()) {
                        self.seat(&place, wanted, &post).await;
                        places.insert(place);
                    }
                }
                let quarantined = self.posts.get(&post).and_then(|held| held.present.as_ref());
                let until = quarantined.map_or(0, |ready| ready.record.quarantined_until_us());
                let now = now_us();
                if until > now {
                    let at = Instant::now() + Duration::from_micros(until - now);
                    again = Some(again.map_or(at, |earlier| earlier.min(at)));
                }
            }
        }
        let seated = std::mem::take(&mut self.seating);
        let all_seated = async {
            for seated in seated {
                // A worker ends only with the proxy. What sat there before ends here.
                drop(seated.await);
            }
        };
        for (post, held) in &mut self.posts {
            let Some(ready) = &mut held.present else { continue };
            ready.refused_list.clear();
            let of_post = |place: &Place| place.role == post.role && place.cell.service == post.service;
            for (_, seated) in self.seats.iter().filter(|(place, _)| of_post(place)) {
                if let Seat::Refused { why, again_at } = &seated.state
                    && Arc::ptr_eq(&seated.policy, &ready.policy)
                {
                    ready.refused_list.clone_from(why);
                    again = again.into_iter().chain(*again_at).min();
                }
            }
        }
        // What is reported as programmed decides, from the next pick on.
        let _ = timeout(SEATING_TIMEOUT, all_seated).await;
        let gone: Vec<Place> = self.seats.keys().filter(|place| !places.contains(*place)).cloned().collect();
        for place in gone {
            self.seats.remove(&place);
            self.order(place.worker, Order::Clear(place));
        }
        again
    }

    /// What a cell declares for a role on this proxy.
    fn declared(&self, wanted: &Wanted<'_>, role: Role) -> Option<Declared> {
        let policy = wanted.policy;
        let (program, mode, abort_on_faults) = match role {
            Role::Serving => (&policy.program, None, None),
            Role::Trial => {
                let trial = policy.trial.as_ref().filter(|trial| trial.includes(self.identity))?;
                (&trial.program, Some(trial.mode), trial.abort_on_faults)
            }
        };
        let (policy, allow) = (policy.name.clone(), policy.allow);
        Some(Declared { policy, program: program.clone(), allow, mode, abort_on_faults })
    }

    /// Sees to it that a post is held by what is declared, or will be. Returns when to try again.
    fn fill(&mut self, post: &Post, port_number: u16, declared: &Declared) -> Option<Instant> {
        let held = self.posts.entry(post.clone()).or_insert(Held { present: None, next: None });
        if held.present.as_ref().is_some_and(|ready| ready.declared == *declared) {
            held.next = None;
            return None;
        }
        match &held.next {
            Some(Next { declared: on_its_way, state, .. }) if on_its_way == declared => match state {
                NextState::Waiting(_, at) if *at <= Instant::now() => {}
                NextState::Waiting(_, at) => return Some(*at),
                NextState::Loading | NextState::Rejected(_) => return None,
            },
            _ => {}
        }
        let failed = held.next.as_ref().filter(|next| next.declared == *declared).map_or(0, |next| next.failed);
        held.next = Some(Next { declared: declared.clone(), state: NextState::Loading, failed });
        let (modules, prepared) = (self.modules.clone(), self.prepared.clone());
        let about = self.fitter.about(&post.service, port_number, 0);
        let log = self.fitter.log(&post.service, &declared.policy);
        let (post, declared) = (post.clone(), declared.clone());
        tokio::spawn(async move {
            let result = modules.prepare(declared.program.clone(), declared.allow, about, log).await;
            // The keeper ends only with the proxy.
            let _ = prepared.send(Prepared { post, declared, result });
        });
        None
    }

    /// A program is ready, or will not be.
    fn take(&mut self, Prepared { post, declared, result }: Prepared) {
        let Some(held) = self.posts.get_mut(&post) else { return };
        let Some(next) = held.next.as_mut().filter(|next| next.declared == declared) else { return };
        match result {
            Ok(policy) => {
                events::policy_ready(&post.service, &declared.policy, &declared.program.module, policy.module().path());
                let record = Arc::new(Record::new(self.workers.len(), declared.abort_on_faults));
                held.present = Some(Ready { declared, policy, record, refused_list: String::new(), recording: None });
                held.next = None;
            }
            Err(Unready::NotNow(why)) => {
                events::policy_delayed(&post.service, &declared.policy, &why);
                // A machine without room for a compiler will not have it in two seconds.
                let pause = AGAIN_AFTER.saturating_mul(1 << next.failed.min(5));
                next.failed += 1;
                next.state = NextState::Waiting(why, Instant::now() + pause);
            }
            Err(Unready::Never(why)) => {
                events::policy_rejected(&post.service, &declared.policy, &declared.program.module, &why);
                next.state = NextState::Rejected(why);
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Fault { place, reason, detail, consequence } => {
                if let Some(seated) = self.seats.get_mut(&place) {
                    seated.state = Seat::Dead;
                }
                events::policy_fault(&place, reason, &detail, consequence);
            }
            // That it has ended is seen when the posts are looked at, which comes next.
            Note::Recorded => {}
        }
    }

    /// Seats the post's program in a place, updated with the newest list, unless it sits there already.
    async fn seat(&mut self, place: &Place, wanted: &Wanted<'_>, post: &Post) {
        let Some(ready) = self.posts.get(post).and_then(|held| held.present.as_ref()) else { return };
        let seated = self.seats.get(place).filter(|seated| Arc::ptr_eq(&seated.policy, &ready.policy));
        let knows_list = seated.is_some_and(|seated| Arc::ptr_eq(&seated.balancer, wanted.balancer));
        let sits = seated.is_some_and(|seated| matches!(seated.state, Seat::Taken));
        match seated.map(|seated| &seated.state) {
            Some(Seat::Taken) if knows_list => return,
            Some(Seat::Refused { again_at, .. }) if knows_list && again_at.is_none_or(|at| at > Instant::now()) => {
                return;
            }
            _ => {}
        }
        if !ready.record.is_usable(now_us()) {
            return;
        }
        let recorder = ready.recording.as_ref().map(UnderWay::recorder);
        let snapshot = match (sits, self.workers.get(place.worker)) {
            (true, Some(worker)) => snapshot(worker, place).await,
            _ => None,
        };
        // What is recorded begins fresh: who reads it has nothing else to begin with.
        let snapshot = snapshot.filter(|snapshot| recorder.is_none() || snapshot.recorded_as.is_some());
        let fitting = wanted.fitting(place, ready, recorder);
        let (policy, balancer) = (Arc::clone(&ready.policy), Arc::clone(wanted.balancer));
        let state = match self.fitter.fit(&fitting, snapshot.as_ref()) {
            Ok(fitted) => {
                let (done, seated) = oneshot::channel();
                self.seating.push(seated);
                self.order(place.worker, Order::Seat(Box::new(fitted), done));
                Seat::Taken
            }
            Err(unfit) => {
                // As the contract has it: the built-in policy serves until an instance has taken a list.
                self.order(place.worker, Order::Clear(place.clone()));
                let why = unfit.to_string();
                events::policy_refused_list(&post.service, fitting.policy_name, &why);
                let again_at = unfit.fault().map(|reason| {
                    count_fault(&fitting.labels(), reason);
                    fitting.record.fault(reason, why.clone(), now_us());
                    Instant::now() + AGAIN_AFTER
                });
                Seat::Refused { why, again_at }
            }
        };
        self.seats.insert(place.clone(), Seated { policy, balancer, state });
    }

    fn order(&self, worker: usize, order: Order) {
        if let Some(worker) = self.workers.get(worker) {
            // A worker ends only with the proxy.
            let _ = worker.send(order);
        }
    }
}

async fn snapshot(worker: &mpsc::UnboundedSender<Order>, place: &Place) -> Option<Copied> {
    let (reply, answer) = oneshot::channel();
    worker.send(Order::Snapshot(place.clone(), reply)).ok()?;
    timeout(SNAPSHOT_TIMEOUT, answer).await.ok()?.ok()?
}

impl<'a> Wanted<'a> {
    fn post(&self, role: Role) -> Post {
        Post { service: self.cell.service.clone(), port: self.port_name.to_owned(), role }
    }

    /// A program in a place of this cell.
    fn fitting(&self, place: &'a Place, ready: &'a Ready, recorder: Option<&'a Recorder>) -> Fitting<'a> {
        Fitting {
            place,
            port_name: self.port_name,
            port_number: self.port_number,
            service: self.service,
            candidates: self.balancer.candidates(),
            mode: ready.declared.mode,
            policy_name: &ready.declared.policy,
            policy: &ready.policy,
            record: &ready.record,
            recorder,
        }
    }
}

/// Whether nothing has happened between two reports, though something may have been counted.
fn same_but_for_counts(a: &wire::PolicyReport, b: &wire::PolicyReport) -> bool {
    let what = |state: &wire::PolicyState| wire::PolicyState {
        picks: 0,
        fallbacks: 0,
        compared: 0,
        disagreed: 0,
        ..state.clone()
    };
    a.states.len() == b.states.len() && a.states.iter().zip(&b.states).all(|(a, b)| what(a) == what(b))
}

/// The cells that want programs: those of Services in use whose port names one, and that have somebody to choose.
fn wanted(world: &World) -> Vec<Wanted<'_>> {
    let mut wanted = Vec::new();
    for (name, service) in world.live.iter() {
        let Some(held) = world.table.get(name) else { continue };
        for (port, declared) in held.entry.value.spec.ports.iter().enumerate() {
            let Some(policy) = declared.policy.wasm() else { continue };
            for family in [Family::V4, Family::V6] {
                let Some(balancer) = service.balancer(port, family) else { continue };
                wanted.push(Wanted {
                    cell: CellKey { service: name.clone(), port, family },
                    port_name: &declared.name,
                    port_number: declared.port,
                    policy,
                    service,
                    balancer,
                });
            }
        }
    }
    wanted
}
