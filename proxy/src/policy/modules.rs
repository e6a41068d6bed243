//! Modules: fetched by digest from the control plane, compiled, and made ready to serve, all of it off the workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::BytesMut;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tonic::Code;
use wasmesh_core::policy::{Allowed, ModuleDigest, WasmProgram};
use wasmesh_policy_host::{About, Grants, Host, HostOptions, LogSink, Module, ModuleError, Policy, Settings};
use wasmesh_proto::wire::{ModuleRequest, discovery_client::DiscoveryClient};

use crate::discovery::Connection;

/// How long one download may take: a module of 4 MiB over a line of 1 Mbit/s.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(40);

/// Where modules come from and who compiles them. The engine is made when the first module comes: a mesh without modules
/// pays nothing for it.
#[derive(Clone)]
pub struct Modules {
    channel: watch::Receiver<Option<Connection>>,
    options: HostOptions,
    shared: Arc<Mutex<Shared>>,
    /// A new module is fetched after a pause of up to this long, so that a thousand sidecars do not come at once.
    jitter: Duration,
}

#[derive(Default)]
struct Shared {
    host: Option<Host>,
    /// Modules in use by some Service, or on their way to it. Who wants one that is on its way waits for the lock.
    modules: HashMap<ModuleDigest, Arc<AsyncMutex<Weak<Module>>>>,
}

/// Why a program cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// It may be had later.
    #[error("{0}")]
    NotNow(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

impl Modules {
    /// Fetches over `channel`, the connection to the control plane, while there is one.
    pub fn new(channel: watch::Receiver<Option<Connection>>, options: HostOptions, jitter: Duration) -> Self {
        Self { channel, options, shared: Arc::default(), jitter }
    }

    /// Makes a program ready: fetches, compiles and tries it.
    ///
    /// # Errors
    /// When it cannot be had now, or not at all; the text says why.
    pub async fn prepare(
        &self,
        program: WasmProgram,
        allow: Allowed,
        about: About,
        log: Arc<dyn LogSink>,
    ) -> Result<Arc<Policy>, Unready> {
        let module = self.module(program.module).await?;
        let work = move || {
            let settings = Settings {
                config: program.config,
                fuel: program.fuel,
                memory_bytes: program.memory_mib as usize * 1024 * 1024,
                grants: Grants {
                    body: allow.body,
                    reject: allow.reject,
                    hold: allow.hold,
                    sensitive_headers: allow.sensitive_headers,
                },
                log,
            };
            Policy::prepare(&module, settings, &about).map_err(|rejection| Unready::Never(rejection.to_string()))
        };
        let ready = tokio::task::spawn_blocking(work).await;
        ready.unwrap_or_else(|error| Err(Unready::Never(format!("making the policy ready has failed: {error}"))))
    }

    /// A module that somebody has loaded, or else fetched and compiled: once, however many Services want it.
    async fn module(&self, digest: ModuleDigest) -> Result<Arc<Module>, Unready> {
        let entry = {
            let mut shared = self.shared();
            shared.modules.retain(|_, module| Arc::strong_count(module) > 1 || in_use(module));
            Arc::clone(shared.modules.entry(digest).or_default())
        };
        let mut module = entry.lock().await;
        if let Some(module) = module.upgrade() {
            return Ok(module);
        }
        let bytes = self.fetch(digest).await?;
        let this = self.clone();
        let compiled = tokio::task::spawn_blocking(move || this.compile(&bytes)).await;
        let compiled =
            compiled.unwrap_or_else(|error| Err(Unready::Never(format!("compiling has failed: {error}"))))?;
        *module = Arc::downgrade(&compiled);
        Ok(compiled)
    }

    fn compile(&self, wasm: &[u8]) -> Result<Arc<Module>, Unready> {
        let host = {
            let mut shared = self.shared();
            match &shared.host {
                Some(host) => host.clone(),
                None => {
                    let host = Host::start(self.options.clone()).map_err(|error| Unready::NotNow(error.to_string()))?;
                    shared.host.insert(host).clone()
                }
            }
        };
        host.load(wasm).map_err(|error| match error {
            // The machine's fault and not the module's: there may be room, or a process to be had, in a while.
            ModuleError::NoRoom { .. } | ModuleError::Compiler(_) => Unready::NotNow(error.to_string()),
            _ => Unready::Never(error.to_string()),
        })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, digest: ModuleDigest) -> Result<Vec<u8>, Unready> {
        let pause = self.jitter.mul_f64(fastrand::f64());
        tokio::time::sleep(pause).await;
        let mut channel = self.channel.clone();
        let connected = channel.wait_for(Option::is_some).await;
        let Some(channel) = connected.ok().and_then(|channel| channel.clone()) else {
            return Err(Unready::NotNow("the proxy is ending".to_owned()));
        };
        let download = self.download(channel, digest);
        match tokio::time::timeout(DOWNLOAD_TIMEOUT, download).await {
            Ok(result) => result,
            Err(_) => {
                Err(Unready::NotNow(format!("module {}: no download within {DOWNLOAD_TIMEOUT:?}", digest.short())))
            }
        }
    }

    async fn download(&self, channel: Connection, digest: ModuleDigest) -> Result<Vec<u8>, Unready> {
        let failed = |status: tonic::Status| {
            let why = format!("module {}: the control plane says: {}", digest.short(), status.message());
            // A module that is not there may come with the next update; so all of these are worth another try.
            match status.code() {
                Code::Unimplemented => Unready::Never(why),
                _ => Unready::NotNow(why),
            }
        };
        let request = ModuleRequest { module: digest.0.to_vec() };
        let mut chunks = DiscoveryClient::new(channel).module(request).await.map_err(failed)?.into_inner();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.message().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk.data);
            if bytes.len() > self.options.max_module_bytes {
                let most = self.options.max_module_bytes;
                return Err(Unready::Never(format!("module {} has more than {most} bytes", digest.short())));
            }
        }
        let found = wasmesh_policy_host::digest(&bytes);
        if found != digest {
            let why = format!("what was sent for module {} has digest {}", digest.short(), found.short());
            return Err(Unready::NotNow(why));
        }
        Ok(bytes.into())
    }
}

fn in_use(module: &AsyncMutex<Weak<Module>>) -> bool {
    // Somebody who is fetching it holds the lock.
    module.try_lock().map_or(true, |module| module.strong_count() > 0)
}
