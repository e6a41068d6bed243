//! The direct path: the guest's core module called as the canonical ABI has it, without the component around it.
//!
//! The contract is the same, and so is what is checked; what is left out is only the general machinery, which costs
//! more than most picks.

pub(crate) mod abi;
mod address;
pub(crate) mod core_module;
mod imports;
mod lower;
mod rewrite;
pub(crate) mod shape;
pub(crate) mod snapshot;

use std::sync::{Arc, OnceLock};

use wasmtime::{
    Engine, Global, Instance, InstancePre, Memory, Module, ModuleExport, Store, TypedFunc, WasmParams, WasmResults,
};

use self::{
    abi::Abi,
    lower::{Batch, Lower},
};
use crate::{
    budget::Budget,
    contract::{self, Name},
    endpoints::EndpointView,
    fault::Fault,
    guard::Guard,
    plan::RawPlan,
    request::{RawDecision, Report, Request},
    settings::About,
    state::State,
};

type PickParams = (u64, u64, u64, u64, u64, u64, u32, u32, u32, u32);
type ReportParams = (u64, u64, u32, u32, u32, u32, u64);

/// A core module that was found to fit the contract, ready to be instantiated.
pub(crate) struct DirectModule {
    pre: InstancePre<State>,
    exports: Exports,
    asks_deadline: bool,
    fresh: Arc<OnceLock<Box<[usize]>>>,
}

/// Where its exports are. The optional ones are those that not every policy needs.
struct Exports {
    memory: ModuleExport,
    realloc: ModuleExport,
    allocate: ModuleExport,
    init: Lifted,
    update: Lifted,
    pick: Lifted,
    completed: Option<Lifted>,
    initialize: Option<ModuleExport>,
    copyable: bool,
    globals: Vec<ModuleExport>,
}

/// A function of the contract, and what the guest wants to be called afterwards with the function's result.
struct Lifted {
    function: ModuleExport,
    post_return: Option<ModuleExport>,
}

/// One instance of it.
pub(crate) struct DirectInstance {
    abi: Abi,
    allocate: TypedFunc<Batch, Batch>,
    init: Call<(u32, u32, u32, u32)>,
    update: Call<(u64, u64, u32, u32)>,
    pick: Call<PickParams>,
    completed: Option<TypedFunc<ReportParams, ()>>,
    initialize: Option<TypedFunc<(), ()>>,
    /// Its mutable globals, if its state can be copied.
    globals: Option<Vec<Global>>,
    /// Shared by all instances: where memory is not zero in a fresh one.
    fresh: Arc<OnceLock<Box<[usize]>>>,
}

struct Call<P> {
    function: TypedFunc<P, u32>,
    post_return: Option<TypedFunc<u32, ()>>,
}

impl DirectModule {
    /// Links a core module. That its functions have the right types was found out before it was compiled.
    pub(crate) fn link(engine: &Engine, module: &Module) -> wasmtime::Result<Self> {
        let pre = imports::linker(engine, module)?.instantiate_pre(module)?;
        let asks_deadline = module.imports().any(|import| import.name() == "deadline-ms");
        Ok(Self { pre, exports: Exports::of(module)?, asks_deadline, fresh: Arc::default() })
    }

    /// An instance before `init`.
    pub(crate) fn instantiate(&self, guard: &mut Guard, budget: Budget) -> Result<DirectInstance, Fault> {
        guard.call(budget, |store| {
            let instance = self.pre.instantiate(&mut *store)?;
            let guest = self.exports.bind(store, &instance, &self.fresh)?;
            store.data_mut().abi = Some(guest.abi.clone());
            store.data_mut().set_asks_deadline(self.asks_deadline);
            Ok(guest)
        })
    }
}

impl Exports {
    fn of(module: &Module) -> wasmtime::Result<Self> {
        let index = |name: &str| module.get_export_index(name);
        let needed = |name: &str| index(name).ok_or_else(|| wasmtime::format_err!("its module does not export {name}"));
        let lifted = |interface: &str, function: &str| {
            let is_it = |name: &str| {
                let parts = name.split_once('#').map(|(module, rest)| (Name::parse(module), rest));
                parts == Some((Name::Ours(interface), function))
            };
            let name = module.exports().map(|export| export.name()).find(|name| is_it(name))?;
            Some(Lifted { function: index(name)?, post_return: index(&format!("cabi_post_{name}")) })
        };
        let policy = |function: &str| {
            let missing = || wasmtime::format_err!("its module does not export {function}");
            lifted(contract::POLICY, function).ok_or_else(missing)
        };
        let is_global = |name: &&str| name.starts_with(rewrite::GLOBAL_PREFIX);
        Ok(Self {
            memory: needed("memory")?,
            realloc: needed("cabi_realloc")?,
            allocate: needed(rewrite::ALLOCATE)?,
            init: policy("init")?,
            update: policy("update")?,
            pick: policy("pick")?,
            completed: lifted(contract::FEEDBACK, "completed"),
            initialize: index("_initialize"),
            copyable: index(rewrite::COPYABLE_MEMORY).is_some(),
            globals: module.exports().map(|export| export.name()).filter(is_global).filter_map(index).collect(),
        })
    }

    /// The exports of one instance.
    fn bind(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        fresh: &Arc<OnceLock<Box<[usize]>>>,
    ) -> wasmtime::Result<DirectInstance> {
        let memory = self.memory(store, instance)?;
        let realloc = function(store, instance, &self.realloc)?;
        let allocate = function(store, instance, &self.allocate)?;
        let completed =
            self.completed.as_ref().map(|lifted| function(store, instance, &lifted.function)).transpose()?;
        let initialize = self.initialize.as_ref().map(|export| function(store, instance, export)).transpose()?;
        let globals = self.copyable.then(|| {
            let global = |export| instance.get_module_export(&mut *store, export)?.into_global();
            self.globals.iter().filter_map(global).collect()
        });
        Ok(DirectInstance {
            abi: Abi { memory, realloc },
            allocate,
            init: self.init.bind(store, instance)?,
            update: self.update.bind(store, instance)?,
            pick: self.pick.bind(store, instance)?,
            completed,
            initialize,
            globals,
            fresh: Arc::clone(fresh),
        })
    }

    fn memory(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Memory> {
        let export = instance.get_module_export(store, &self.memory).and_then(wasmtime::Extern::into_memory);
        export.ok_or_else(|| wasmtime::format_err!("its memory is none"))
    }
}

impl Lifted {
    fn bind<P: WasmParams>(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Call<P>> {
        let post_return = self.post_return.as_ref().map(|export| function(store, instance, export)).transpose()?;
        Ok(Call { function: function(store, instance, &self.function)?, post_return })
    }
}

fn function<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    instance: &Instance,
    export: &ModuleExport,
) -> wasmtime::Result<TypedFunc<P, R>> {
    let function = instance.get_module_export(&mut *store, export).and_then(wasmtime::Extern::into_func);
    function.ok_or_else(|| wasmtime::format_err!("an export is no function"))?.typed(store)
}

impl<P: WasmParams> Call<P> {
    /// Calls the function and reads what its result points to before the guest takes that back.
    #[inline]
    fn call<R>(
        &self,
        store: &mut Store<State>,
        memory: Memory,
        params: P,
        read: impl FnOnce(&[u8], u32) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let pointer = self.function.call(&mut *store, params)?;
        let answer = read(memory.data(&*store), pointer)?;
        if let Some(post_return) = &self.post_return {
            post_return.call(store, pointer)?;
        }
        Ok(answer)
    }
}

impl DirectInstance {
    pub(crate) fn init(
        &self,
        guard: &mut Guard,
        budget: Budget,
        config: &str,
        about: &About,
    ) -> Result<Result<RawPlan, String>, Fault> {
        guard.call(budget, |store| {
            if let Some(initialize) = &self.initialize {
                initialize.call(&mut *store, ())?;
            }
            let mut lower = Lower::new(store, &self.abi, &self.allocate);
            let (config, config_len) = lower.text(config)?;
            let about: Vec<_> = about.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let (about, about_len) = lower.labels(&about)?;
            lower.finish()?;
            self.init.call(store, self.abi.memory, (config, config_len, about, about_len), abi::init_answer)
        })
    }

    pub(crate) fn update(
        &self,
        guard: &mut Guard,
        budget: Budget,
        (generation, now_ms): (u64, u64),
        endpoints: &[EndpointView<'_>],
    ) -> Result<Result<(), String>, Fault> {
        guard.call(budget, |store| {
            let (list, len) = Lower::new(store, &self.abi, &self.allocate).endpoints(endpoints)?;
            self.update.call(store, self.abi.memory, (generation, now_ms, list, len), abi::update_answer)
        })
    }

    #[inline]
    pub(crate) fn pick(
        &self,
        guard: &mut Guard,
        budget: Budget,
        request: &Request,
        answer: &mut RawDecision,
    ) -> wasmtime::Result<()> {
        let read = |memory: &[u8], pointer| abi::decision(memory, pointer, answer);
        guard.try_call(budget, |store| {
            // Made here, number by number: a copy of the whole request would be of what was stored a moment ago in parts.
            let [key0, key1, key2, key3] = request.keys.hashes;
            let (has_avoid, avoid) = request.avoid.map_or((0, 0), |index| (1, index));
            let (random, now_ms, attempt) = (request.random, request.now_ms, request.attempt);
            let flags = u32::from(request.flags());
            let params = (key0, key1, key2, key3, random, now_ms, attempt, has_avoid, avoid, flags);
            self.pick.call(store, self.abi.memory, params, read)
        })
    }

    pub(crate) fn completed(&self, guard: &mut Guard, budget: Budget, report: &Report) -> Result<(), Fault> {
        let Some(completed) = &self.completed else {
            return Ok(());
        };
        let Report { endpoint_id, tag, first_byte_us, total_us, status, outcome, now_ms } = *report;
        let flags = u32::from(outcome.flags());
        let params = (endpoint_id, tag, first_byte_us, total_us, status, flags, now_ms);
        guard.call(budget, |store| completed.call(store, params))
    }
}
