//! What the host keeps for one instance: what its imports answer from, and its limits.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use wasmtime::ResourceLimiter;

use crate::{
    direct::abi::Abi,
    endpoints::{NoStats, Stats},
    log::{LogGate, LogLevel},
    plan::{Plan, Want},
    pool::MemoryPool,
    request::RequestSource,
    text,
};

/// The longest string that a policy gets, in bytes.
const MAX_TEXT_BYTES: usize = 4096;
/// What a stats function answers for an endpoint or a want that is not there.
pub(crate) const NOTHING: u32 = u32::MAX;

/// The data of a store.
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) cpu: CpuClock,
    /// How the direct path reaches into the guest; `None` on the component path, which does that by itself.
    pub(crate) abi: Option<Abi>,
    log: Arc<LogGate>,
    plan: Arc<Plan>,
    stats: Box<dyn Stats>,
    endpoints: u32,
    now_ms: u64,
    request: RequestInfo,
}

/// Strings of the request that is being picked for. Kept from pick to pick, so that a copy allocates nothing.
#[derive(Default)]
struct RequestInfo {
    /// By index of the want; empty if the plan has no strings.
    texts: Vec<Text>,
    body: Bytes,
    deadline_ms: u32,
    asks_deadline: bool,
    /// Whether the policy reads anything of requests at all.
    is_read: bool,
}

impl RequestInfo {
    fn clear(&mut self) {
        self.deadline_ms = u32::MAX;
        self.texts.iter_mut().for_each(|slot| slot.is_present = false);
        self.body = Bytes::new();
    }
}

#[derive(Default, Clone)]
struct Text {
    text: String,
    is_present: bool,
}

/// CPU time of the present call.
#[derive(Default)]
pub(crate) struct CpuClock {
    /// CPU time of the thread when the call was first interrupted.
    pub(crate) first_tick: Option<Duration>,
    /// What the call may use from then on.
    pub(crate) budget: Duration,
}

impl State {
    pub(crate) fn new(memory_bytes: usize, pool: Arc<MemoryPool>, log: Arc<LogGate>) -> Self {
        Self {
            limits: Limits { cap: memory_bytes, used: 0, pool, denied_memory: false },
            cpu: CpuClock::default(),
            abi: None,
            log,
            plan: Arc::default(),
            stats: Box::new(NoStats),
            endpoints: 0,
            now_ms: 0,
            request: RequestInfo { deadline_ms: u32::MAX, asks_deadline: true, ..RequestInfo::default() },
        }
    }

    /// What the instance was granted; until then nothing is.
    pub(crate) fn set_plan(&mut self, plan: &Arc<Plan>) {
        self.plan = Arc::clone(plan);
        let has_texts = plan.wants.iter().any(|want| matches!(want, Want::Text(_)));
        let info = &mut self.request;
        info.texts = vec![Text::default(); if has_texts { plan.wants.len() } else { 0 }];
        info.is_read = has_texts || plan.body_want().is_some() || info.asks_deadline;
    }

    /// A new list and what its indexes mean from now on.
    pub(crate) fn set_endpoints(&mut self, len: u32, stats: Box<dyn Stats>, now_ms: u64) {
        (self.endpoints, self.stats, self.now_ms) = (len, stats, now_ms);
    }

    /// How many endpoints the last list had.
    pub(crate) fn endpoints(&self) -> u32 {
        self.endpoints
    }

    /// Whether the guest can ask how much time a request has left. Assumed until something else is known.
    pub(crate) fn set_asks_deadline(&mut self, asks_deadline: bool) {
        self.request.asks_deadline = asks_deadline;
    }

    /// Makes a request readable, which costs nothing where the policy reads none of it.
    #[inline]
    pub(crate) fn begin_pick(&mut self, now_ms: u64, source: &dyn RequestSource) {
        self.now_ms = now_ms;
        if self.request.is_read {
            self.fill_in(source);
        }
    }

    /// Forgets the request: its strings are for its own pick only.
    #[inline]
    pub(crate) fn end_pick(&mut self) {
        if self.request.is_read {
            self.request.clear();
        }
    }

    /// Copies what was declared and may be had, because a guest may ask for it in the middle of its run, when the
    /// request is out of reach.
    fn fill_in(&mut self, source: &dyn RequestSource) {
        let info = &mut self.request;
        for (index, word) in self.plan.texts() {
            let slot = &mut info.texts[index];
            let value = source.value(word);
            slot.is_present = value.is_some();
            if let Some(value) = value {
                slot.text.clear();
                slot.text.push_str(text::cut(&String::from_utf8_lossy(&value), MAX_TEXT_BYTES));
            }
        }
        if let Some(bytes) = self.plan.body_want() {
            let body = source.body();
            info.body = body.slice(..body.len().min(bytes));
        }
        if info.asks_deadline {
            info.deadline_ms = source.deadline_ms();
        }
    }

    pub(crate) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    pub(crate) fn in_flight(&self, endpoint: u32) -> u32 {
        if endpoint < self.endpoints { self.stats.in_flight(endpoint) } else { NOTHING }
    }

    pub(crate) fn total_in_flight(&self) -> u32 {
        self.stats.total_in_flight()
    }

    pub(crate) fn latency_us(&self, endpoint: u32) -> u32 {
        if endpoint < self.endpoints { self.stats.latency_us(endpoint, self.now_ms) } else { NOTHING }
    }

    pub(crate) fn failure_rate(&self, endpoint: u32) -> u32 {
        if endpoint < self.endpoints { self.stats.failure_rate(endpoint) } else { NOTHING }
    }

    pub(crate) fn available(&self, endpoint: u32) -> bool {
        endpoint < self.endpoints && self.stats.available(endpoint, self.now_ms)
    }

    pub(crate) fn reported(&self, endpoint: u32, want: u32) -> u32 {
        if endpoint >= self.endpoints || self.plan.report(want).is_none() {
            return NOTHING;
        }
        self.stats.reported(endpoint, want, self.now_ms).map_or(NOTHING, |value| value.min(NOTHING - 1))
    }

    pub(crate) fn peers(&self) -> u32 {
        self.stats.peers().max(1)
    }

    pub(crate) fn text(&self, want: u32) -> Option<&str> {
        self.request.texts.get(want as usize).filter(|slot| slot.is_present).map(|slot| slot.text.as_str())
    }

    /// Lends a string out; to be put back.
    pub(crate) fn take_text(&mut self, want: u32) -> Option<String> {
        let slot = self.request.texts.get_mut(want as usize).filter(|slot| slot.is_present)?;
        Some(std::mem::take(&mut slot.text))
    }

    /// Takes a string back that was lent out.
    pub(crate) fn put_text_back(&mut self, want: u32, text: String) {
        if let Some(slot) = self.request.texts.get_mut(want as usize) {
            slot.text = text;
        }
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.request.body
    }

    pub(crate) fn deadline_ms(&self) -> u32 {
        self.request.deadline_ms
    }

    pub(crate) fn wants_log(&self, level: LogLevel) -> bool {
        self.log.wants(level)
    }

    pub(crate) fn log(&self, level: LogLevel, line: &str) {
        self.log.write(level, line);
    }
}

/// Caps what an instance may allocate.
pub(crate) struct Limits {
    /// How much memory the instance may have, and how much it has, in bytes.
    pub(crate) cap: usize,
    pub(crate) used: usize,
    /// What all instances share.
    pool: Arc<MemoryPool>,
    /// Whether the present call was denied memory.
    pub(crate) denied_memory: bool,
}

/// Function tables of real guests have hundreds of entries.
const MAX_TABLE_ELEMENTS: usize = 20_000;

impl Drop for Limits {
    fn drop(&mut self) {
        self.pool.give_back(self.used);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let may_have = desired <= self.cap && maximum.is_none_or(|maximum| desired <= maximum);
        let is_allowed = may_have && self.pool.take(desired.saturating_sub(self.used));
        if is_allowed {
            self.used = desired;
        } else {
            self.denied_memory = true;
        }
        Ok(is_allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum))
    }

    /// A component has a few core instances: its own, and those that glue it together.
    fn instances(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        16
    }

    /// One is what every toolchain makes. More would have to share the cap.
    fn memories(&self) -> usize {
        1
    }
}
