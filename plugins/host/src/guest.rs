//! A guest in its store, and the two ways into it. Which one is taken makes no difference to anybody but the clock.

use std::sync::Arc;

use crate::{
    budget::Budget,
    component::ComponentInstance,
    direct::{DirectInstance, snapshot::DirectSnapshot},
    endpoints::EndpointView,
    fault::Fault,
    guard::Guard,
    log::LogGate,
    module::{Code, Module},
    plan::RawPlan,
    request::{RawDecision, Report, Request},
    settings::{About, Settings},
    state::State,
    text,
};

/// The longest text in which a guest says what it does not like, in bytes.
const MAX_WORDS_BYTES: usize = 1024;

/// A guest. What it says is checked for form only.
pub(crate) struct Guest {
    guard: Guard,
    path: Path,
    fuel: u64,
}

enum Path {
    Component(ComponentInstance),
    Direct(Box<DirectInstance>),
}

impl Guest {
    /// A fresh guest, before `init`.
    pub(crate) fn new(module: &Module, settings: &Settings, log: &Arc<LogGate>) -> Result<Self, Fault> {
        let mut guard = module.new_guard(State::new(settings.memory_bytes, module.pool(), Arc::clone(log)));
        let budget = Budget::init(settings.fuel);
        let path = match module.code() {
            Code::Component(code) => Path::Component(code.instantiate(&mut guard, budget)?),
            Code::Direct(code) => Path::Direct(Box::new(code.instantiate(&mut guard, budget)?)),
        };
        Ok(Self { guard, path, fuel: settings.fuel })
    }

    pub(crate) fn state(&self) -> &State {
        self.guard.state()
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.guard.state_mut()
    }

    pub(crate) fn init(&mut self, config: &str, about: &About) -> Result<Result<RawPlan, String>, Fault> {
        let budget = Budget::init(self.fuel);
        let answer = match &self.path {
            Path::Component(guest) => guest.init(&mut self.guard, budget, config, about),
            Path::Direct(guest) => guest.init(&mut self.guard, budget, config, about),
        };
        answer.map(|answer| answer.map_err(|words| text::line(&words, MAX_WORDS_BYTES)))
    }

    pub(crate) fn update(
        &mut self,
        generation: u64,
        now_ms: u64,
        endpoints: &[EndpointView<'_>],
    ) -> Result<Result<(), String>, Fault> {
        let budget = Budget::update(self.fuel, endpoints.len());
        let answer = match &self.path {
            Path::Component(guest) => guest.update(&mut self.guard, budget, (generation, now_ms), endpoints),
            Path::Direct(guest) => guest.update(&mut self.guard, budget, (generation, now_ms), endpoints),
        };
        answer.map(|answer| answer.map_err(|words| text::line(&words, MAX_WORDS_BYTES)))
    }

    /// The answer is written into place and the error is a pointer, for [`Guest::fault_of_pick`]: what goes through memory as
    /// part of a larger value is read back before it has arrived there, which costs as much as the rest of a pick.
    #[inline]
    pub(crate) fn pick(&mut self, request: &Request, answer: &mut RawDecision) -> wasmtime::Result<()> {
        let budget = Budget::pick(self.fuel);
        match &self.path {
            Path::Component(guest) => guest.pick(&mut self.guard, budget, request, answer),
            Path::Direct(guest) => guest.pick(&mut self.guard, budget, request, answer),
        }
    }

    /// What the error of the last pick means.
    #[cold]
    pub(crate) fn fault_of_pick(&self, error: &wasmtime::Error) -> Fault {
        self.guard.fault(error, Budget::pick(self.fuel))
    }

    /// Its state, if that can be copied.
    pub(crate) fn snapshot(&mut self) -> Option<DirectSnapshot> {
        match &self.path {
            Path::Component(_) => None,
            Path::Direct(guest) => guest.snapshot(self.guard.store()),
        }
    }

    /// Takes over the state of another guest of the same module, in place of `init`.
    pub(crate) fn restore(&mut self, snapshot: &DirectSnapshot) -> Result<(), Fault> {
        let budget = Budget::init(self.fuel);
        match &self.path {
            Path::Component(_) => Ok(()),
            Path::Direct(guest) => self.guard.call(budget, |store| guest.restore(store, snapshot)),
        }
    }

    /// How much linear memory it has.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.state().limits.used
    }

    pub(crate) fn completed(&mut self, report: &Report) -> Result<(), Fault> {
        let budget = Budget::pick(self.fuel);
        match &self.path {
            Path::Component(guest) => guest.completed(&mut self.guard, budget, report),
            Path::Direct(guest) => guest.completed(&mut self.guard, budget, report),
        }
    }
}
