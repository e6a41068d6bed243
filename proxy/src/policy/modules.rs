//! Modules: fetched by digest from the control plane, compiled, and made ready to serve, all of it off the workers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::BytesMut;
use tokio::sync::watch;
use tonic::{Code, transport::Channel};
use wasmesh_core::policy::{Allowed, ModuleDigest, WasmProgram};
use wasmesh_policy_host::{About, Grants, Host, HostOptions, LogSink, Module, Policy, Settings};
use wasmesh_proto::wire::{ModuleRequest, discovery_client::DiscoveryClient};

/// How long one download may take: a module of 4 MiB over a line of 1 Mbit/s.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(40);

/// Where modules come from and who compiles them. The engine is made when the first module comes: a mesh without modules
/// pays nothing for it.
#[derive(Clone)]
pub struct Modules {
    channel: watch::Receiver<Option<Channel>>,
    options: HostOptions,
    shared: Arc<Mutex<Shared>>,
    /// A new module is fetched after a pause of up to this long, so that a thousand sidecars do not come at once.
    jitter: Duration,
}

#[derive(Default)]
struct Shared {
    host: Option<Host>,
    /// Modules in use by some Service.
    loaded: HashMap<ModuleDigest, Weak<Module>>,
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
    pub fn new(channel: watch::Receiver<Option<Channel>>, options: HostOptions, jitter: Duration) -> Self {
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
        let digest = program.module;
        let bytes = match self.loaded(&digest) {
            Some(_) => None,
            None => Some(self.fetch(digest).await?),
        };
        let this = self.clone();
        let work = move || {
            let module = this.load(&digest, bytes.as_deref())?;
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

    fn loaded(&self, digest: &ModuleDigest) -> Option<Arc<Module>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).loaded.get(digest)?.upgrade()
    }

    /// Compiles a module, unless somebody has meanwhile. One at a time: compiling is the most memory a sidecar ever needs.
    fn load(&self, digest: &ModuleDigest, bytes: Option<&[u8]>) -> Result<Arc<Module>, Unready> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.loaded.retain(|_, module| module.strong_count() > 0);
        if let Some(module) = shared.loaded.get(digest).and_then(Weak::upgrade) {
            return Ok(module);
        }
        let bytes = bytes.ok_or_else(|| Unready::NotNow("the module was given up a moment ago".to_owned()))?;
        let host = match &shared.host {
            Some(host) => host.clone(),
            None => {
                let host = Host::start(self.options.clone()).map_err(|error| Unready::Never(error.to_string()))?;
                shared.host.insert(host).clone()
            }
        };
        let module = host.load(bytes).map_err(|error| Unready::Never(error.to_string()))?;
        shared.loaded.insert(*digest, Arc::downgrade(&module));
        Ok(module)
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

    async fn download(&self, channel: Channel, digest: ModuleDigest) -> Result<Vec<u8>, Unready> {
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
