//! Fetches what is wanted, beside everything else the control plane does.

use std::{sync::Arc, time::Instant};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::OnceCell,
    time::{sleep_until, timeout},
};
use wasmesh_core::afar::AllowedModules;

use super::{
    Afar, AfarOptions,
    book::MAX_AT_ONCE,
    cosign::CosignKey,
    distribution::Puller,
    events,
    remote::{Fault, Remote},
    secrets::Secrets,
    web::{Ask, Web},
};
use crate::translate::policy::{MAX_MODULE_BYTES, Module, Reason};

/// Fetches modules.
pub struct Fetcher {
    web: Web,
    allowed: AllowedModules,
    cosign_key: Option<CosignKey>,
    secrets: Secrets,
    options: AfarOptions,
}

impl Fetcher {
    /// One that has credentials from there.
    ///
    /// # Errors
    /// When a file that the options name cannot be used; the error names it.
    pub fn new(options: &AfarOptions, secrets: Secrets) -> anyhow::Result<Self> {
        Ok(Self {
            web: Web::trusting(options.module_ca.as_deref())?,
            allowed: options.allowed(),
            cosign_key: options.module_cosign_key.as_deref().map(CosignKey::read).transpose()?,
            secrets,
            options: options.clone(),
        })
    }

    /// Fetches what is wanted there, for ever.
    pub async fn run(self, afar: Afar) {
        let fetcher = Arc::new(self);
        let mut running = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            let (begun, next) = afar.begin(MAX_AT_ONCE.saturating_sub(running.len()), now);
            for remote in begun {
                let fetcher = Arc::clone(&fetcher);
                // A task of its own: hashing some megabytes must not keep waiting who runs beside this.
                let task = tokio::spawn({
                    let remote = remote.clone();
                    async move { fetcher.fetch(&remote).await }
                });
                running.push(async move { (remote, task.await) });
            }
            let sleep = async {
                match next {
                    Some(next) => sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((remote, outcome)) = running.next(), if !running.is_empty() => {
                    let outcome = outcome.unwrap_or_else(|error| {
                        Err(Fault::passing(Reason::FetchFailed, format!("fetching it was cut short: {error}")))
                    });
                    afar.finish(&remote, outcome, Instant::now(), fastrand::u64(..));
                }
                () = afar.wanted() => {}
                () = sleep => {}
            }
        }
    }

    /// One attempt.
    async fn fetch(&self, remote: &Remote) -> Result<Module, Fault> {
        let begun = Instant::now();
        let outcome = timeout(self.options.module_timeout, self.get(remote)).await.unwrap_or_else(|_| {
            let message = format!(
                "{} has not answered in full within {} s (--module-timeout): is it up, and can the control plane reach it?",
                remote.host(),
                self.options.module_timeout.as_secs_f64()
            );
            Err(Fault::passing(Reason::FetchFailed, message))
        });
        match &outcome {
            Ok(module) => events::fetched(remote, module, begun.elapsed()),
            Err(fault) => events::not_fetched(remote, fault),
        }
        outcome
    }

    async fn get(&self, remote: &Remote) -> Result<Module, Fault> {
        // Nothing else is wanted; but this is where it would matter.
        if let Some(refusal) = remote.refusal(&self.allowed) {
            return Err(refusal);
        }
        let invalid = |error: String| Fault::lasting(Reason::InvalidRef, error);
        match remote {
            Remote::Http { url, sha256 } => {
                let may_go = |to: &_| self.allowed.redirect(to);
                let ask = Ask { url, accept: None, authorization: None, at_most: MAX_MODULE_BYTES, may_go: &may_go };
                let bytes = self.web.get(&ask).await?.ok()?;
                let module = Module::new(bytes).map_err(|error| invalid(error.to_string()))?;
                let found = module.digest();
                if found.to_string() != *sha256 {
                    return Err(invalid(format!(
                        "its SHA-256 is {found}, and the object says {sha256}: one of the two is not what was meant"
                    )));
                }
                Ok(module)
            }
            Remote::Image { image, secret } => {
                let repository = &image.repository;
                let credentials = match secret {
                    Some(name) => {
                        let found = self.secrets.get(name).await?.credentials(repository);
                        let unusable = |reason| Fault::passing(Reason::InvalidRef, format!("{name}: {reason}"));
                        Some(found.map_err(unusable)?)
                    }
                    None => None,
                };
                let puller = Puller {
                    web: &self.web,
                    allowed: &self.allowed,
                    repository,
                    credentials: credentials.as_ref(),
                    authorization: OnceCell::new(),
                };
                let bytes = puller.component(image, self.cosign_key.as_ref()).await?;
                Module::new(bytes).map_err(|error| invalid(error.to_string()))
            }
        }
    }
}
