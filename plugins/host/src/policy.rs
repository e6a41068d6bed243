//! A module with its configuration, found good: what may serve.

use std::sync::{Arc, Weak};

use crate::{
    direct::snapshot::DirectSnapshot,
    dry_run,
    error::Rejection,
    fault::Fault,
    guest::Guest,
    instance::Instance,
    log::LogGate,
    module::Module,
    plan::{Plan, RawPlan},
    settings::{About, Settings},
};

/// A policy that went through `init` and a dry run. Makes instances, one for each worker and Service port.
pub struct Policy {
    module: Arc<Module>,
    settings: Settings,
    log: Arc<LogGate>,
    plan: Arc<Plan>,
}

impl Policy {
    /// Tries a module with its settings: `init`, its plan, and a dry run over lists of none, one and several endpoints
    /// with a thousand picks, in which nothing may fail. Blocks for some milliseconds: not for a worker.
    ///
    /// `about` is what `init` is told in the trial.
    ///
    /// # Errors
    ///
    /// Why it may not serve.
    pub fn prepare(module: &Arc<Module>, settings: Settings, about: &About) -> Result<Arc<Self>, Rejection> {
        let log = Arc::new(LogGate::new(Arc::clone(&settings.log)));
        let (guest, raw) = begin(module, &settings, &log, about)?;
        let plan = Arc::new(Plan::check(&raw, settings.grants)?);
        let policy = Arc::new(Self { module: Arc::clone(module), settings, log, plan });
        dry_run::run(&mut Instance::new(&policy, guest))?;
        Ok(policy)
    }

    /// The module.
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it asked for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn shared_plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// A fresh instance. It has no endpoints before its first update. Costs some dozen microseconds.
    ///
    /// # Errors
    ///
    /// `init` failed or refused, or answered another plan than in the trial.
    pub fn instance(self: &Arc<Self>, about: &About) -> Result<Instance, Rejection> {
        let (guest, raw) = begin(&self.module, &self.settings, &self.log, about)?;
        if Plan::check(&raw, self.settings.grants).as_ref() != Ok(&*self.plan) {
            return Err(Rejection::PlanChanged);
        }
        Ok(Instance::new(self, guest))
    }

    /// An instance that goes on where another one was: its counters and whatever it has learned are the same. It has no
    /// endpoints before its first update.
    ///
    /// A snapshot of another policy is of no use and makes a fresh instance.
    ///
    /// # Errors
    ///
    /// As for [`Policy::instance`]; or the state does not fit.
    pub fn revive(self: &Arc<Self>, about: &About, snapshot: &Snapshot) -> Result<Instance, Rejection> {
        let Some(state) = snapshot.of(self) else {
            return self.instance(about);
        };
        let failed = |fault| Rejection::Fault { call: "instantiation", fault };
        let mut guest = Guest::new(&self.module, &self.settings, &self.log).map_err(failed)?;
        guest.restore(state).map_err(failed)?;
        Ok(Instance::new(self, guest))
    }
}

/// The state of an instance, to be given to another one; see [`crate::Instance::snapshot`].
pub struct Snapshot {
    policy: Weak<Policy>,
    state: DirectSnapshot,
}

impl Snapshot {
    pub(crate) fn new(policy: &Arc<Policy>, state: DirectSnapshot) -> Self {
        Self { policy: Arc::downgrade(policy), state }
    }

    /// The state, if it is one of this policy.
    fn of(&self, policy: &Arc<Policy>) -> Option<&DirectSnapshot> {
        std::ptr::eq(self.policy.as_ptr(), Arc::as_ptr(policy)).then_some(&self.state)
    }
}

/// A guest that has been through `init`, and its plan.
fn begin(
    module: &Module,
    settings: &Settings,
    log: &Arc<LogGate>,
    about: &About,
) -> Result<(Guest, RawPlan), Rejection> {
    let failed = |call: &'static str| move |fault: Fault| Rejection::Fault { call, fault };
    let mut guest = Guest::new(module, settings, log).map_err(failed("instantiation"))?;
    let plan = guest.init(&settings.config, about).map_err(failed("init"))?.map_err(Rejection::Refused)?;
    Ok((guest, plan))
}
