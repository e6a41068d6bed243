//! Modules from afar: those that policies have from web servers and registries.
//!
//! The walk: [`remote`] says what an object names, `wasmesh_core::afar` whether the administrator lets it be fetched, the book when; the fetcher
//! does it, and what comes of it is a fact for the registry like any other. Pure but for `web`, `distribution`, [`secrets`] and
//! [`fetcher`].

mod book;
mod challenge;
mod cosign;
pub mod credentials;
mod distribution;
mod events;
pub mod fetcher;
mod manifest;
mod options;
mod patience;
pub mod remote;
pub mod secrets;
mod web;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::{sync::Notify, time::timeout_at};
use wasmesh_core::afar::AllowedModules;

use self::{book::Book, secrets::FolderSecrets};
pub use self::{
    book::{Asker, Fetched, Wanted},
    options::AfarOptions,
    patience::Patience,
    remote::{Fault, Misnamed, Remote},
};
use crate::translate::policy::Module;

/// What is wanted from afar and what has come. Clones are the same.
#[derive(Clone, Default)]
pub struct Afar(Arc<Shared>);

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    secrets: Arc<Mutex<FolderSecrets>>,
    /// For the fetcher: something else is wanted.
    wanted: Notify,
    /// For the publisher: something has come, or will not.
    changed: Notify,
}

impl AfarOptions {
    /// What the administrator allows.
    pub fn allowed(&self) -> AllowedModules {
        AllowedModules {
            sources: self.allow_modules.clone(),
            redirects: self.allow_module_redirects.clone(),
            signed_only: self.module_cosign_key.is_some(),
        }
    }
}

impl Afar {
    /// Gives the metrics their help texts and their zeros.
    pub fn describe() {
        events::describe();
    }

    /// From now on these are wanted and no others, with these Secrets of the folder. Returns what is known of them.
    pub fn follow(&self, wanted: Wanted, secrets: FolderSecrets) -> Fetched {
        *self.0.secrets.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
        let mut book = self.book();
        book.follow(wanted, Instant::now());
        self.0.wanted.notify_one();
        book.fetched()
    }

    /// Waits until more is known.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Waits until everything that is wanted has been tried once, but not for long when nothing comes. Cancel safe.
    pub async fn settled(&self, patience: &mut Patience) {
        loop {
            let (is_settled, here) = {
                let book = self.book();
                (book.is_settled(), book.here())
            };
            let until = patience.until(here, Instant::now());
            if is_settled || timeout_at(until.into(), self.changed()).await.is_err() {
                break;
            }
        }
        // Whoever waits for changes has not seen these.
        self.0.changed.notify_one();
    }

    /// The Secrets of the folder, as they were read last.
    pub fn folder_secrets(&self) -> Arc<Mutex<FolderSecrets>> {
        Arc::clone(&self.0.secrets)
    }

    async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    fn begin(&self, free: usize, now: Instant) -> (Vec<Remote>, Option<Instant>) {
        let mut book = self.book();
        let (begun, is_full) = book.begin(free, now);
        if is_full {
            self.0.changed.notify_one();
        }
        (begun, book.next(now))
    }

    fn finish(&self, remote: &Remote, outcome: Result<Module, Fault>, now: Instant, random: u64) {
        self.book().finish(remote, outcome, now, random);
        self.0.changed.notify_one();
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
