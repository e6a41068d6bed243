//! The host: one per process, made when the first module comes.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Instant};

use sha2::{Digest, Sha256};
use wasmesh_core::policy::ModuleDigest;
use wasmtime::Engine;

use crate::{
    compile::{self, Calls, CompileLimits},
    engine,
    error::{HostError, ModuleError},
    load,
    module::Module,
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
    /// What compiling one may use up.
    pub compile_limits: CompileLimits,
    /// How they are called.
    pub calls: Calls,
}

impl HostOptions {
    /// The largest module by default.
    pub const DEFAULT_MAX_MODULE_BYTES: usize = 4 << 20;

    /// The usual options with this compiler: no cache.
    pub fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            cache: None,
            max_module_bytes: Self::DEFAULT_MAX_MODULE_BYTES,
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
    options: Arc<HostOptions>,
}

/// What running guests needs.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) watchdog: Arc<Watchdog>,
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
        Ok(Self { runtime: Arc::new(Runtime { engine, watchdog }), options: Arc::new(options) })
    }

    /// Compiles a module, or finds it compiled. Blocks for as long as that takes: not for a worker.
    ///
    /// # Errors
    ///
    /// Why it may not be loaded.
    pub fn load(&self, wasm: &[u8]) -> Result<Arc<Module>, ModuleError> {
        let begin = Instant::now();
        let max = self.options.max_module_bytes;
        if wasm.len() > max {
            return Err(ModuleError::TooLarge { bytes: wasm.len(), max });
        }
        let engine = &self.runtime.engine;
        let artefact = compile::compile(engine, wasm, self.options.calls)?;
        let code = load::load(engine, &artefact).map_err(|error| ModuleError::Compiler(format!("{error:#}")))?;
        Ok(Arc::new(Module {
            runtime: Arc::clone(&self.runtime),
            code,
            digest: digest(wasm),
            why_component: artefact.why_component,
            has_feedback: artefact.has_feedback,
            size_bytes: wasm.len(),
            compile_time: begin.elapsed(),
        }))
    }
}
