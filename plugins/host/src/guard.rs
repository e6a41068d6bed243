//! The one wrapper through which every call into a guest goes: fuel, CPU time, and what the end of a call means.

use std::sync::Arc;

use wasmtime::{Engine, Store, UpdateDeadline};

use crate::{
    budget::Budget,
    fault::{Exceeded, Fault},
    state::State,
    watchdog::{Watchdog, thread_cpu_time},
};

/// How much a guest may have the host allocate with one call or answer, in bytes: a plan, a refusal or a line of a log is far
/// smaller.
const HOSTCALL_BYTES: usize = 1 << 20;

/// The store of one instance.
pub(crate) struct Guard {
    store: Store<State>,
    watchdog: Arc<Watchdog>,
}

impl Guard {
    pub(crate) fn new(engine: &Engine, watchdog: &Arc<Watchdog>, state: State) -> Self {
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_BYTES);
        let clock = Arc::clone(watchdog);
        store.epoch_deadline_callback(move |mut context| {
            clock.keep_awake();
            let cpu = &mut context.data_mut().cpu;
            let now = thread_cpu_time();
            // How much of the call lies before its first interruption is not known, so it is not charged.
            let begin = *cpu.first_tick.get_or_insert(now);
            let is_over = now.saturating_sub(begin) >= cpu.budget;
            Ok(if is_over { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
        });
        Self { store, watchdog: Arc::clone(watchdog) }
    }

    /// What the host keeps for the instance.
    #[inline]
    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    /// Likewise, to be changed between calls.
    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// The store, for what runs no code of the guest.
    pub(crate) fn store(&mut self) -> &mut Store<State> {
        &mut self.store
    }

    /// Runs code of the guest within a budget. After a fault the instance is in a suspect state: discard it.
    #[inline]
    pub(crate) fn call<R>(
        &mut self,
        budget: Budget,
        run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.try_call(budget, run).map_err(|error| self.fault(&error, budget))
    }

    /// The same, but what an error means is left to [`Guard::fault`]: an error is a single pointer, which is quicker to
    /// hand on than a fault.
    #[inline]
    pub(crate) fn try_call<R>(
        &mut self,
        budget: Budget,
        run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let state = self.store.data_mut();
        state.cpu.first_tick = None;
        state.cpu.budget = budget.cpu;
        state.limits.denied_memory = false;
        // Fails only in an engine that counts no fuel.
        let refuelled = self.store.set_fuel(budget.fuel);
        debug_assert!(refuelled.is_ok());
        self.store.set_epoch_deadline(1);
        self.watchdog.keep_awake();
        run(&mut self.store)
    }

    /// What the error of the last call means.
    #[cold]
    pub(crate) fn fault(&self, error: &wasmtime::Error, budget: Budget) -> Fault {
        let limits = &self.state().limits;
        let exceeded = Exceeded {
            fuel: budget.fuel,
            cpu_ms: budget.cpu.as_millis() as u64,
            memory_bytes: limits.cap,
            denied_memory: limits.denied_memory,
        };
        Fault::of(error, &exceeded)
    }
}
