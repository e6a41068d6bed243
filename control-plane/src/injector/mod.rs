//! Has pods meshed as they are made: a mutating webhook.
//!
//! What becomes of a pod is decided by [`wasmesh_injection`], which is pure. Here is what surrounds it: [`server`] speaks HTTPS
//! and knows no Kubernetes, [`review`] (pure) reads and writes AdmissionReviews, [`namespaces`] knows what namespaces demand of
//! their pods, [`bundle`] keeps the API server trusting us, [`clients`] is whom we trust, [`notes`] tells owners of pods what was left alone, and why.
//!
//! Whatever goes wrong here, pods are made: the API server ignores a webhook that fails, unless the installation says otherwise,
//! and a pod that would break by being meshed is not.

mod body;
pub mod bundle;
pub mod clients;
pub mod desk;
pub mod events;
mod lookups;
pub mod namespaces;
pub mod notes;
pub mod options;
mod quarrel;
pub mod review;
pub mod server;
pub mod version;

use std::{future::Future, sync::Arc};

use kube::Client;
use tokio::{net::TcpListener, sync::watch, time::Instant};
use wasmesh_core::capture::Cidr;

use crate::certificates::ServingCertificate;
pub use clients::ClientCa;
use desk::{Desk, Log, RANGES_DUE};
use namespaces::Namespaces;
use notes::Notes;
pub use options::InjectorOptions;

/// What the injector stands on.
pub struct Injector {
    /// The API server.
    pub client: Client,
    /// What it is told.
    pub options: InjectorOptions,
    /// Name of this replica, in events.
    pub name: String,
    /// Namespace of this installation.
    pub namespace: String,
    /// What it shows to the API server.
    pub certificate: ServingCertificate,
    /// Whose certificates it wants to see, if any.
    pub clients: Option<ClientCa>,
    /// Where Services have their addresses, as far as it is known.
    pub service_cidrs: watch::Receiver<Vec<Cidr>>,
    /// Whether this replica writes for all.
    pub is_leader: watch::Receiver<bool>,
    /// Turns true when it can answer.
    pub is_ready: watch::Sender<bool>,
}

impl Injector {
    /// Serves the API server until `shutdown` ends and for a while longer, until nobody asks here any more.
    ///
    /// # Errors
    /// When the cryptography library offers no version of TLS.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        events::describe();
        let (tls_in, tls) = watch::channel(clients::server_config(&self.certificate, self.clients.as_ref())?);
        let (version_in, has_sidecars) = watch::channel(None);
        let knows_callers = self.clients.is_some();
        let bundle = bundle::keep(self.client.clone(), self.certificate.clone(), self.is_leader);
        let clients = clients::follow(self.certificate.clone(), self.clients, tls_in);
        let version = version::follow(self.client.clone(), version_in);
        let desk = Arc::new(Desk {
            notes: Notes::new(self.client.clone(), self.name),
            namespaces: Namespaces::new(self.client.clone()),
            options: self.options,
            namespace: self.namespace,
            certificate: self.certificate,
            service_cidrs: self.service_cidrs,
            ranges_due: Instant::now() + RANGES_DUE,
            has_sidecars: has_sidecars.clone(),
            knows_callers,
            log: Log::default(),
        });
        let namespaces = desk.namespaces.follow(self.client);
        let ready = become_ready(has_sidecars, desk.namespaces.settled(), self.is_ready);
        let answer = {
            let desk = Arc::clone(&desk);
            move |asked, body| {
                let desk = Arc::clone(&desk);
                async move { desk.answer(asked, body).await }
            }
        };
        tokio::select! {
            () = server::serve(listener, tls, server::LIMITS, answer, shutdown) => {}
            () = namespaces => {}
            () = bundle => {}
            () = clients => {}
            () = version => {}
            () = ready => {}
        }
        Ok(())
    }
}

/// Waits for what every answer needs, says when it is there, and never ends.
async fn become_ready(
    mut has_sidecars: watch::Receiver<Option<bool>>,
    mut namespaces: watch::Receiver<bool>,
    is_ready: watch::Sender<bool>,
) {
    // Whoever promises them has gone only when everything ends.
    if has_sidecars.wait_for(Option::is_some).await.is_ok() && namespaces.wait_for(|settled| *settled).await.is_ok() {
        is_ready.send_replace(true);
    }
    std::future::pending::<()>().await;
}
