//! The component path: a policy called through the component model, as any host would.

// Generated from the contract: what it says is documented there.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy-with-feedback",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::{
    exports::wasmesh::policy::{
        feedback::{self, GuestIndices as FeedbackIndices},
        policy::{self, GuestIndices as PolicyIndices, Plan as WitPlan},
    },
    wasmesh::policy::{log, request_info, stats, types},
};
use wasmtime::{
    Engine,
    component::{Component, HasSelf, InstancePre, Linker},
};

use crate::{
    budget::Budget,
    endpoints::{EndpointView, Health},
    fault::Fault,
    guard::Guard,
    log::LogLevel,
    plan::RawPlan,
    request::{ENDPOINT, FALLBACK, HOLD, Outcome, REJECT, RawDecision, Report, Request},
    settings::About,
    state::State,
};

/// A component that was found to fit the contract, ready to be instantiated.
pub(crate) struct ComponentModule {
    pre: InstancePre<State>,
    policy: PolicyIndices,
    feedback: Option<FeedbackIndices>,
}

/// One instance of it.
pub(crate) struct ComponentInstance {
    policy: policy::Guest,
    feedback: Option<feedback::Guest>,
}

impl ComponentModule {
    /// Links a component and compares its types with the contract's.
    pub(crate) fn link(engine: &Engine, component: &Component, has_feedback: bool) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        stats::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        request_info::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let pre = linker.instantiate_pre(component)?;
        let policy = PolicyIndices::new(&pre)?;
        let feedback = if has_feedback { Some(FeedbackIndices::new(&pre)?) } else { None };
        Ok(Self { pre, policy, feedback })
    }

    pub(crate) fn instantiate(&self, guard: &mut Guard, budget: Budget) -> Result<ComponentInstance, Fault> {
        guard.call(budget, |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            let policy = self.policy.load(&mut *store, &instance)?;
            let feedback = self.feedback.as_ref().map(|indices| indices.load(&mut *store, &instance)).transpose()?;
            Ok(ComponentInstance { policy, feedback })
        })
    }
}

impl ComponentInstance {
    pub(crate) fn init(
        &self,
        guard: &mut Guard,
        budget: Budget,
        config: &str,
        about: &About,
    ) -> Result<Result<RawPlan, String>, Fault> {
        let about: Vec<_> = about.0.iter().map(|(name, value)| types::Label { name, value }).collect();
        let answer = guard.call(budget, |store| self.policy.call_init(store, config, &about))?;
        Ok(answer.map(|WitPlan { keys, wants, reasons }| RawPlan { keys, wants, reasons }))
    }

    pub(crate) fn update(
        &self,
        guard: &mut Guard,
        budget: Budget,
        (generation, now_ms): (u64, u64),
        endpoints: &[EndpointView<'_>],
    ) -> Result<Result<(), String>, Fault> {
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        let labels: Vec<Vec<_>> = endpoints.iter().map(|endpoint| labels(endpoint.labels)).collect();
        let records: Vec<_> = endpoints
            .iter()
            .zip(addresses.iter().zip(&labels))
            .map(|(endpoint, (address, labels))| record(endpoint, address, labels))
            .collect();
        guard.call(budget, |store| self.policy.call_update(store, generation, now_ms, &records))
    }

    pub(crate) fn pick(
        &self,
        guard: &mut Guard,
        budget: Budget,
        request: &Request,
        answer: &mut RawDecision,
    ) -> wasmtime::Result<()> {
        let [key0, key1, key2, key3] = request.keys.hashes;
        let request = types::Request {
            key0,
            key1,
            key2,
            key3,
            random: request.random,
            now_ms: request.now_ms,
            attempt: request.attempt,
            avoid: request.avoid,
            traits: traits(request),
        };
        let decision = guard.try_call(budget, |store| self.policy.call_pick(store, request))?;
        let (case, value) = match decision.choice {
            types::Choice::Endpoint(index) => (ENDPOINT, index),
            types::Choice::Fallback => (FALLBACK, 0),
            types::Choice::Reject(status) => (REJECT, u32::from(status)),
            types::Choice::Hold(millis) => (HOLD, millis),
        };
        let types::Decision { alternate, reason, tag, .. } = decision;
        let (alternate_case, alternate) = alternate.map_or((0, 0), |index| (1, index));
        *answer = RawDecision { case, value, alternate_case, alternate, reason, tag };
        Ok(())
    }

    pub(crate) fn completed(&self, guard: &mut Guard, budget: Budget, report: &Report) -> Result<(), Fault> {
        let Some(guest) = &self.feedback else {
            return Ok(());
        };
        let report = feedback::Report {
            endpoint_id: report.endpoint_id,
            tag: report.tag,
            first_byte_us: report.first_byte_us,
            total_us: report.total_us,
            status: report.status,
            outcome: outcome(&report.outcome),
            now_ms: report.now_ms,
        };
        guard.call(budget, |store| guest.call_completed(store, report))
    }
}

fn labels<'a>(labels: &'a [(&'a str, &'a str)]) -> Vec<types::Label<'a>> {
    labels.iter().map(|(name, value)| types::Label { name, value }).collect()
}

fn record<'a>(endpoint: &'a EndpointView<'_>, address: &'a str, labels: &'a [types::Label<'a>]) -> types::Endpoint<'a> {
    types::Endpoint {
        id: endpoint.id,
        address,
        weight: endpoint.weight.max(1),
        priority: endpoint.priority,
        zone: endpoint.zone,
        node: endpoint.node,
        health: match endpoint.health {
            Health::Healthy => types::Health::Healthy,
            Health::Degraded => types::Health::Degraded,
            Health::Draining => types::Health::Draining,
        },
        ready_ms: endpoint.ready_ms,
        labels,
    }
}

fn traits(request: &Request) -> types::Traits {
    use types::Traits as Flag;
    let keys = [Flag::KEY0, Flag::KEY1, Flag::KEY2, Flag::KEY3];
    let keys = keys.into_iter().enumerate().map(|(index, flag)| (request.keys.present & 1 << index != 0, flag));
    let rest = [
        (request.attempt > 0, Flag::RETRY),
        (request.traits.http, Flag::HTTP),
        (request.traits.grpc, Flag::GRPC),
        (request.traits.tls, Flag::TLS),
    ];
    keys.chain(rest).filter(|(set, _)| *set).fold(Flag::empty(), |flags, (_, flag)| flags | flag)
}

fn outcome(outcome: &Outcome) -> feedback::Outcome {
    use feedback::Outcome as Flag;
    let flags = [
        (outcome.transport_error, Flag::TRANSPORT_ERROR),
        (outcome.server_error, Flag::SERVER_ERROR),
        (outcome.timeout, Flag::TIMEOUT),
        (outcome.cancelled, Flag::CANCELLED),
        (outcome.streamed, Flag::STREAMED),
    ];
    flags.into_iter().filter(|(set, _)| *set).fold(Flag::empty(), |flags, (_, flag)| flags | flag)
}

impl types::Host for State {}

impl stats::Host for State {
    fn in_flight(&mut self, endpoint: u32) -> u32 {
        State::in_flight(self, endpoint)
    }

    fn total_in_flight(&mut self) -> u32 {
        State::total_in_flight(self)
    }

    fn latency_us(&mut self, endpoint: u32) -> u32 {
        State::latency_us(self, endpoint)
    }

    fn failure_rate(&mut self, endpoint: u32) -> u32 {
        State::failure_rate(self, endpoint)
    }

    fn available(&mut self, endpoint: u32) -> bool {
        State::available(self, endpoint)
    }

    fn reported(&mut self, endpoint: u32, want: u32) -> u32 {
        State::reported(self, endpoint, want)
    }

    fn peers(&mut self) -> u32 {
        State::peers(self)
    }
}

impl request_info::Host for State {
    fn text(&mut self, want: u32) -> Option<String> {
        State::text(self, want).map(str::to_owned)
    }

    fn body(&mut self) -> Vec<u8> {
        State::body(self).to_vec()
    }

    fn deadline_ms(&mut self) -> u32 {
        State::deadline_ms(self)
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Error => LogLevel::Error,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Info => LogLevel::Info,
            log::Level::Debug => LogLevel::Debug,
        };
        if self.wants_log(level) {
            self.log(level, &message);
        }
    }
}
