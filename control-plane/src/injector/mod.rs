//! Has pods meshed as they are made: a mutating webhook.
//!
//! What becomes of a pod is decided by [`wasmesh_injection`], which is pure. Here is what surrounds it: [`server`] speaks HTTPS
//! and knows no Kubernetes, [`review`] (pure) reads and writes AdmissionReviews, [`namespaces`] knows what namespaces demand of
//! their pods, [`bundle`] keeps the API server trusting us, [`notes`] tells owners of pods what was left alone, and why.
//!
//! Whatever goes wrong here, pods are made: the API server ignores a webhook that fails, unless the installation says otherwise,
//! and a pod that would break by being meshed is not.

pub mod bundle;
pub mod desk;
pub mod events;
pub mod namespaces;
pub mod notes;
pub mod options;
pub mod review;
pub mod server;
pub mod version;

use std::{future::Future, sync::Arc};

use kube::Client;
use tokio::{net::TcpListener, sync::watch, time::Instant};
use wasmesh_core::capture::Cidr;

use crate::certificates::ServingCertificate;
use desk::{Desk, RANGES_DUE};
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
    /// Where Services have their addresses, as far as it is known.
    pub service_cidrs: watch::Receiver<Vec<Cidr>>,
    /// Whether this replica writes for all.
    pub is_leader: watch::Receiver<bool>,
}

impl Injector {
    /// Serves the API server until `shutdown` ends and for a while longer, until nobody asks here any more.
    ///
    /// # Errors
    /// When the cryptography library offers no version of TLS.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        events::describe();
        let tls = self.certificate.server_config(server::PROTOCOLS)?;
        let has_sidecars = version::has_native_sidecars(&self.client).await;
        let (namespaces, follow_namespaces) = Namespaces::follow(self.client.clone());
        let bundle = bundle::keep(self.client.clone(), self.certificate.clone(), self.is_leader);
        let desk = Arc::new(Desk {
            notes: Notes::new(self.client, self.name),
            namespaces,
            options: self.options,
            namespace: self.namespace,
            certificate: self.certificate,
            service_cidrs: self.service_cidrs,
            ranges_due: Instant::now() + RANGES_DUE,
            has_sidecars,
        });
        let answer = move |asked, body| {
            let desk = Arc::clone(&desk);
            async move { desk.answer(asked, body).await }
        };
        tokio::select! {
            () = server::serve(listener, tls, answer, shutdown) => {}
            () = follow_namespaces => {}
            () = bundle => {}
        }
        Ok(())
    }
}
