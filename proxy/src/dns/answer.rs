//! From a question to its answer: the mesh first, then what others have said, then others.

use std::{cell::RefCell, sync::Arc, time::Duration};

use hickory_proto::op::{Message, ResponseCode};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use wasmesh_core::{
    dns::{Answer, Records, Zone},
    name::ServiceName,
};

use super::{
    cache::{Cache, Key},
    events::{self, Dealt},
    message::{Question, records, start_of_authority},
    upstream::Upstream,
};
use crate::{
    clock::now_us,
    world::{Late, Subscribe, World, Worlds},
};

pub(super) struct Answerer {
    zone: Zone,
    worlds: Worlds,
    wanted: mpsc::Sender<Subscribe>,
    first_use_wait: Duration,
    upstream: Upstream,
    cache: RefCell<Cache>,
    /// For questions whose answer takes time.
    slots: Semaphore,
    late: RefCell<Late>,
}

/// An answer, and how it came about. `None` is no answer at all: then whoever asked asks again.
type Outcome = (Option<Message>, Dealt);

impl Answerer {
    pub(super) fn new(
        zone: Zone,
        worlds: Worlds,
        wanted: mpsc::Sender<Subscribe>,
        first_use_wait: Duration,
        upstream: Upstream,
        cache: Cache,
        max_queries: usize,
    ) -> Self {
        let (cache, slots) = (RefCell::new(cache), Semaphore::new(max_queries));
        Self { zone, worlds, wanted, first_use_wait, upstream, cache, slots, late: RefCell::default() }
    }

    /// The answer to a question, counted.
    pub(super) async fn answer(&self, question: &Question) -> Option<Message> {
        let (answer, dealt) = match self.at_once(question) {
            Some(outcome) => outcome,
            None => self.in_time(question).await,
        };
        events::dealt(dealt);
        answer
    }

    /// The answer, if it is known without asking anybody.
    fn at_once(&self, question: &Question) -> Option<Outcome> {
        let world = self.world();
        let answer = match self.resolve(&world, question) {
            Answer::Records(records) if records.continues_at.is_none() => self.records(question, &records),
            Answer::NoData => self.nothing(question, &world, ResponseCode::NoError),
            Answer::Records(_) | Answer::NeedsEndpoints(_) => return None,
            Answer::Unknown => {
                let kept = self.kept(question)?;
                return Some((Some(question.relay(&kept)), Dealt::Cache));
            }
        };
        Some((Some(answer), Dealt::Mesh))
    }

    async fn in_time(&self, question: &Question) -> Outcome {
        let Ok(_slot) = self.slots.try_acquire() else { return (None, Dealt::Dropped) };
        let answer = match self.resolve(&self.world(), question) {
            Answer::NeedsEndpoints(service) => self.with_endpoints(question, &service).await,
            answer => answer,
        };
        match answer {
            Answer::Records(Records { continues_at: None, .. }) | Answer::NoData => {
                let outcome = self.at_once(question);
                outcome.unwrap_or_else(|| (Some(question.reply(ResponseCode::ServFail)), Dealt::Failed))
            }
            Answer::Records(records) => self.continued(question, &records).await,
            // Endpoints that do not come are the mesh's trouble, and not the pod's.
            Answer::NeedsEndpoints(_) | Answer::Unknown => match self.kept(question) {
                Some(kept) => (Some(question.relay(&kept)), Dealt::Cache),
                None => self.forwarded(question).await,
            },
        }
    }

    fn resolve(&self, world: &World, question: &Question) -> Answer {
        if !question.is_internet() {
            return Answer::Unknown;
        }
        self.zone.resolve(&world.table, &question.name(), question.record_type())
    }

    /// What is said once the endpoints of a Service are known, or the time for that is over.
    async fn with_endpoints(&self, question: &Question, service: &ServiceName) -> Answer {
        let generation = self.world().generation;
        let is_late = self.late.borrow().is_late(service, generation);
        let until = Instant::now() + if is_late { Duration::ZERO } else { self.first_use_wait };
        // Looked at before asking: an answer that comes in between is then still news.
        let mut worlds = self.worlds.clone();
        worlds.mark_unchanged();
        // A queue that is full is being worked on, and whoever asks asks again.
        let _ = self.wanted.try_send(Subscribe(service.clone()));
        loop {
            let answer = self.resolve(&worlds.borrow_and_update().clone(), question);
            let needs_more = matches!(answer, Answer::NeedsEndpoints(_));
            if !needs_more {
                return answer;
            }
            if !matches!(timeout_at(until, worlds.changed()).await, Ok(Ok(()))) {
                self.late.borrow_mut().note(service, self.world().generation);
                return answer;
            }
        }
    }

    fn records(&self, question: &Question, found: &Records) -> Message {
        let mut reply = question.reply(ResponseCode::NoError);
        reply.metadata.authoritative = true;
        reply.add_answers(records(&found.answers));
        reply.add_additionals(records(&found.additional));
        self.touch(question);
        reply
    }

    fn nothing(&self, question: &Question, world: &World, code: ResponseCode) -> Message {
        let mut reply = question.reply(code);
        reply.metadata.authoritative = true;
        // Generations are counted from the start of the process: enough for who compares two of them.
        reply.add_authorities(start_of_authority(self.zone.domain(), world.generation as u32));
        reply
    }

    /// An alias of a name that others know.
    async fn continued(&self, question: &Question, found: &Records) -> Outcome {
        let target = found.continues_at.as_deref().and_then(|name| question.about(name));
        let Some(target) = target else { return (Some(question.reply(ResponseCode::ServFail)), Dealt::Failed) };
        let (rest, dealt) = match self.kept(&target) {
            Some(kept) => (Some(kept), Dealt::Cache),
            None => self.forwarded(&target).await,
        };
        let answer = rest.map(|rest| {
            let mut reply = question.relay(&rest);
            reply.metadata.authoritative = false;
            let rest = std::mem::take(&mut reply.answers);
            reply.add_answers(records(&found.answers));
            reply.add_answers(rest);
            reply
        });
        (answer, dealt)
    }

    fn kept(&self, question: &Question) -> Option<Message> {
        self.cache.borrow_mut().get(&Key::of(question), Instant::now())
    }

    async fn forwarded(&self, question: &Question) -> Outcome {
        match self.upstream.ask(question).await {
            Some(answer) => {
                let mut cache = self.cache.borrow_mut();
                cache.put(Key::of(question), &answer, Instant::now());
                events::cached(cache.len());
                (Some(question.relay(&answer)), Dealt::Forwarded)
            }
            None => {
                let world = self.world();
                // With the servers gone the mesh's word is the best there is: a search path must come to its next entry.
                if world.complete && question.is_internet() && self.zone.contains(&question.name()) {
                    return (Some(self.nothing(question, &world, ResponseCode::NXDomain)), Dealt::Mesh);
                }
                (Some(question.reply(ResponseCode::ServFail)), Dealt::Failed)
            }
        }
    }

    /// A Service whose pods somebody asks for is in use.
    fn touch(&self, question: &Question) {
        let world = self.world();
        let service = self.zone.service_of(&question.name());
        if let Some(live) = service.and_then(|service| world.live.get(&service).cloned()) {
            live.touch(now_us());
        }
    }

    fn world(&self) -> Arc<World> {
        Arc::clone(&self.worlds.borrow())
    }
}
