//! Where pull secrets come from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::{
    credentials::{PullSecret, SecretName},
    remote::Fault,
};
use crate::{kubernetes::explain, translate::policy::Reason};

/// The Secrets that a folder has, those that policies name.
pub type FolderSecrets = HashMap<SecretName, Arc<PullSecret>>;

/// Where pull secrets come from.
#[derive(Clone)]
pub enum Secrets {
    /// From the folder, as it was read last.
    Folder(Arc<Mutex<FolderSecrets>>),
    /// From the API server, one by one and by name, when they are needed. Nothing of them is kept.
    Kube(Client),
    /// The administrator does not let policies name any.
    Refused,
}

impl Secrets {
    /// The Secret of this name.
    pub(super) async fn get(&self, name: &SecretName) -> Result<Arc<PullSecret>, Fault> {
        match self {
            Self::Folder(secrets) => {
                let secrets = secrets.lock().unwrap_or_else(PoisonError::into_inner);
                secrets.get(name).cloned().ok_or_else(|| missing(name))
            }
            Self::Kube(client) => get(client.clone(), name).await,
            Self::Refused => {
                let message = format!(
                    "{name} is not read: the administrator of the mesh has not let policies name Secrets; ask for \
                     --module-pull-secrets of the control plane, or remove pullSecretRef"
                );
                Err(Fault::lasting(Reason::RefNotPermitted, message))
            }
        }
    }
}

async fn get(client: Client, name: &SecretName) -> Result<Arc<PullSecret>, Fault> {
    match Api::<Secret>::namespaced(client, &name.namespace).get(&name.name).await {
        Ok(secret) => Ok(Arc::new(PullSecret::of(secret))),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(missing(name)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let SecretName { namespace, name: secret } = name;
            let message = format!(
                "the control plane may not read {name}: kubectl create role wasmesh-pull-secret-{secret} --namespace {namespace} --verb get \
                 --resource secrets --resource-name {secret}; kubectl create rolebinding wasmesh-pull-secret-{secret} --namespace {namespace} \
                 --role wasmesh-pull-secret-{secret} --serviceaccount wasmesh-system:wasmesh-control-plane"
            );
            Err(Fault::passing(Reason::RefNotPermitted, message))
        }
        Err(error) => {
            let message = format!("{name} cannot be read: {}", explain(&error));
            Err(Fault::passing(Reason::FetchFailed, message))
        }
    }
}

fn missing(name: &SecretName) -> Fault {
    let SecretName { namespace, name } = name;
    let message = format!(
        "there is no Secret {name} in the namespace of the policy: kubectl create secret docker-registry {name} --namespace {namespace} …"
    );
    Fault::passing(Reason::RefNotFound, message)
}
