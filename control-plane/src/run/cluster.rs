//! A control plane in a cluster.

use std::{future::Future, sync::Arc};

use tokio::sync::{oneshot, watch};
use wasmesh_injection::names::CONTROL_PLANE_SERVICE;

use super::{Core, Listeners, run, stopped};
use crate::{
    Options,
    afar::secrets::Secrets,
    certificates,
    certificates::{Keeper, ServerNames, ServingCertificate},
    identity::{Authenticator, KubernetesReviewer, TokenChecker},
    injector::{ClientCa, Injector},
    kubernetes::{self, Clients},
    leadership,
    server::{ALPN, Door},
    source, status,
};

/// Runs a control plane on the objects of a cluster until `shutdown` ends.
///
/// An API server that does not answer is waited for: the admin server says so meanwhile, and nothing restarts.
///
/// # Errors
/// When an option names a file that cannot be used, or a listener fails.
pub(super) async fn serve(
    clients: Clients,
    options: Options,
    mut listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    certificates::events::describe();
    let Clients { general: client, reviews, leases } = clients;
    let mut webhook_clients = options.injector.webhook_client_ca.as_deref().map(ClientCa::read).transpose()?;
    let (namespace, name) = (options.namespace.clone(), options.name.clone());
    let (injector, ranges) = (options.injector.clone(), options.service_cidr.clone());
    let webhook = listeners.webhook.take();
    let (certificate_in, certificate) = oneshot::channel::<ServingCertificate>();

    let source = async |updates| {
        source::kube::run(client.clone(), updates).await;
        Ok(())
    };
    let door = async |_: &Core| {
        let names = ServerNames::of_service(CONTROL_PLANE_SERVICE, &namespace, &options.injector.cluster_domain);
        let (certificate, keeper) = Keeper::start(client.clone(), &namespace, names).await;
        let tls = certificate.server_config(ALPN, None)?;
        tokio::spawn(keeper.run());
        // Nobody waits for it if the control plane is about to end.
        let _ = certificate_in.send(certificate);
        let checker = TokenChecker::new(Arc::new(KubernetesReviewer::new(reviews)));
        Ok(Door { tls: Some(tls), authenticator: Authenticator::Tokens(Arc::new(checker)) })
    };
    let beside = async |core: &Core| {
        let (leads_in, leads) = watch::channel(false);
        let (service_cidrs, follow_ranges) = kubernetes::service_ranges(client.clone(), ranges);
        let tally = status::Tally::new(core.findings.clone(), core.streams.clone());
        let inject = async {
            let (Some(listener), Ok(certificate)) = (webhook, certificate.await) else { return };
            let injector = Injector {
                client: client.clone(),
                options: injector,
                name: name.clone(),
                namespace: namespace.clone(),
                certificate,
                clients: webhook_clients.take(),
                service_cidrs,
                is_leader: leads.clone(),
                is_ready: core.can_inject.clone(),
            };
            if let Err(error) = injector.run(listener, stopped(core.stopping.clone())).await {
                tracing::error!("pods are not meshed by this replica: {error:#}");
            }
        };
        let endless = async {
            tokio::join!(
                follow_ranges,
                status::write(
                    client.clone(),
                    leases.clone(),
                    &namespace,
                    core.findings.policies.clone(),
                    leads.clone()
                ),
            );
        };
        let parting = async {
            tokio::join!(
                leadership::campaign(leases.clone(), &namespace, name.clone(), leads_in, core.stopping.clone()),
                status::publish(leases.clone(), &namespace, &name, tally, core.stopping.clone()),
                inject,
            );
        };
        tokio::select! {
            () = endless => {}
            () = parting => {}
        }
    };
    let secrets = |_: &Core| {
        let may_read = options.afar.module_pull_secrets;
        if may_read { Secrets::Kube(client.clone()) } else { Secrets::Refused }
    };
    run(options.clone(), listeners, shutdown, source, secrets, door, beside).await
}
