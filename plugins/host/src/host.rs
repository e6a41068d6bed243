//! The host: one per process, made when the first module comes.

use std::{
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sha2::{Digest, Sha256};
use wasmesh_core::policy::ModuleDigest;
use wasmtime::Engine;

use crate::{
    cache::Cache,
    compile::{self, Artefact, Calls, CompileLimits},
    direct::shape,
    engine,
    error::{HostError, ModuleError},
    load,
    module::{Code, Module},
    pool::MemoryPool,
    watchdog::Watchdog,
};

/// How modules are compiled and kept.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Who compiles.
    pub compiler: Compiler,
    /// Where compiled modules are kept for the next start; nowhere if `None`.
    pub cache: Option<PathBuf>,
    /// The largest module that is taken.
    pub max_module_bytes: usize,
    /// How much linear memory all instances may have together, in bytes; one that asks for more is denied it, as beyond its
    /// own cap.
    pub max_memory_bytes: usize,
    /// What compiling one may use up.
    pub compile_limits: CompileLimits,
    /// How they are called.
    pub calls: Calls,
}

impl HostOptions {
    /// The largest module by default.
    pub const DEFAULT_MAX_MODULE_BYTES: usize = 4 << 20;

    /// The memory of all instances together by default: some hundred small policies, or one bomb after another.
    pub const DEFAULT_MAX_MEMORY_BYTES: usize = 128 << 20;

    /// The usual options with this compiler: no cache.
    pub fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            cache: None,
            max_module_bytes: Self::DEFAULT_MAX_MODULE_BYTES,
            max_memory_bytes: Self::DEFAULT_MAX_MEMORY_BYTES,
            compile_limits: CompileLimits::default(),
            calls: Calls::default(),
        }
    }
}

/// Who compiles modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// A child process that calls [`crate::compile_child_main`], so that a module that is too much for the compiler
    /// takes nothing else down.
    Child {
        /// The program, as a rule this very one.
        program: PathBuf,
        /// What tells it to compile.
        args: Vec<OsString>,
    },
    /// This process, without limits: for tests, and for tools that do nothing else.
    InProcess,
}

/// The host. Cheap to clone. Its thread ends when the last clone is gone, with everything that was loaded by it.
#[derive(Clone)]
pub struct Host {
    runtime: Arc<Runtime>,
    loader: Arc<Loader>,
}

/// What loading modules needs.
struct Loader {
    options: HostOptions,
    cache: Option<Cache>,
    cache_problem: Option<String>,
    /// One module is compiled at a time: two might not fit where one does.
    turn: Mutex<()>,
}

/// What running guests needs.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) pool: Arc<MemoryPool>,
}

/// What the bytes of a module hash to.
pub fn digest(wasm: &[u8]) -> ModuleDigest {
    ModuleDigest(Sha256::digest(wasm).into())
}

impl Host {
    /// Starts the engine and its clock.
    ///
    /// # Errors
    ///
    /// The machine is not one that wasmtime compiles for, or gives no thread.
    pub fn start(options: HostOptions) -> Result<Self, HostError> {
        let engine = engine::engine().map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let watchdog = Arc::new(Watchdog::start(&engine).map_err(HostError::Thread)?);
        let opened = options.cache.clone().map(|directory| Cache::open(directory, engine::compatibility(&engine)));
        let (cache, cache_problem) = match opened.transpose() {
            Ok(cache) => (cache, None),
            Err(why) => (None, Some(why)),
        };
        let pool = Arc::new(MemoryPool::new(options.max_memory_bytes));
        let loader = Arc::new(Loader { options, cache, cache_problem, turn: Mutex::new(()) });
        Ok(Self { runtime: Arc::new(Runtime { engine, watchdog, pool }), loader })
    }

    /// Why nothing is kept for the next start though it should be; `None` if all is well or nothing was to be kept.
    pub fn cache_problem(&self) -> Option<&str> {
        self.loader.cache_problem.as_deref()
    }

    /// Compiles a module, or finds it compiled. Blocks for as long as that takes: not for a worker.
    ///
    /// # Errors
    ///
    /// Why it may not be loaded.
    pub fn load(&self, wasm: &[u8]) -> Result<Arc<Module>, ModuleError> {
        let begin = Instant::now();
        let max = self.loader.options.max_module_bytes;
        if wasm.len() > max {
            return Err(ModuleError::TooLarge { bytes: wasm.len(), max });
        }
        // Cheap, and tells most of what can be wrong without compiling anything.
        shape::inspect(wasm)?;
        let digest = digest(wasm);
        let engine = &self.runtime.engine;
        let (artefact, code) = self.loader.callable(engine, wasm, digest)?;
        Ok(Arc::new(Module {
            runtime: Arc::clone(&self.runtime),
            code,
            digest,
            why_component: artefact.why_component,
            has_feedback: artefact.has_feedback,
            size_bytes: wasm.len(),
            compile_time: begin.elapsed(),
        }))
    }
}

impl Loader {
    fn callable(&self, engine: &Engine, wasm: &[u8], digest: ModuleDigest) -> Result<(Artefact, Code), ModuleError> {
        let calls = self.options.calls;
        let kept = || {
            let artefact = self.cache.as_ref()?.get(digest, calls)?;
            let code = load::load(engine, &artefact).ok()?;
            Some((artefact, code))
        };
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever had the turn before may have compiled the same.
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let artefact = match &self.options.compiler {
            Compiler::InProcess => compile::compile(engine, wasm.into(), calls)?,
            Compiler::Child { program, args } => {
                let in_child = |calls| {
                    compile::compile_in_child(engine, (program, args), wasm, calls, self.options.compile_limits)
                };
                match in_child(calls) {
                    // The child has let go of the module by the time that it knows. Should it be our additions that are wrong with it,
                    // it can still be called as a component.
                    Err(ModuleError::Invalid(_)) if calls == Calls::DirectIfPossible => in_child(Calls::AsComponents)?,
                    compiled => compiled?,
                }
            }
        };
        let code = load::load(engine, &artefact).map_err(|error| ModuleError::Compiler(format!("{error:#}")))?;
        if let Some(cache) = &self.cache {
            // A full disk costs the next start some time, and this one nothing.
            let _ = cache.put(digest, calls, &artefact);
        }
        Ok((artefact, code))
    }
}
