//! The certificates and keys of a cluster.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::ground::Ground;

/// Signs whoever the API server believes.
pub(super) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(super) ca: PathBuf,
    /// Its key, for controllers that sign.
    pub(super) ca_key: PathBuf,
    /// What tokens of ServiceAccounts are signed with, and checked with.
    pub(super) accounts_key: PathBuf,
    pub(super) accounts_public: PathBuf,
}

/// A certificate and its key.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Pki {
    pub(super) fn new(ground: &Ground) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "wasmesh-tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key();
        let ca = ground.write("ca.crt", &params.self_signed(&key).expect("a certificate").pem());
        let ca_key = ground.write("ca.key", &key.serialize_pem());
        let accounts = self::key();
        let accounts_key = ground.write("accounts.key", &accounts.serialize_pem());
        let accounts_public = ground.write("accounts.pub", &accounts.public_key_pem());
        Self { issuer: Issuer::new(params, key), ca, ca_key, accounts_key, accounts_public }
    }

    /// The certificate of a server with these names and addresses.
    pub(super) fn server(&self, ground: &Ground, file: &str, user: User<'_>, names: &[&str]) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names of a server");
        self.sign(ground, file, params, user, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The certificate of a client.
    pub(super) fn client(&self, ground: &Ground, file: &str, user: User<'_>) -> Identity {
        self.sign(ground, file, CertificateParams::default(), user, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        ground: &Ground,
        file: &str,
        mut params: CertificateParams,
        user: User<'_>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Identity {
        params.distinguished_name.push(DnType::CommonName, user.name);
        if let Some(group) = user.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity {
            certificate: ground.write(&format!("{file}.crt"), &certificate),
            key: ground.write(&format!("{file}.key"), &key.serialize_pem()),
        }
    }
}

/// Whom a certificate is for, as Kubernetes reads it: the name is the subject's, the group is its organisation.
#[derive(Clone, Copy)]
pub(super) struct User<'a> {
    pub(super) name: &'a str,
    pub(super) group: Option<&'a str>,
}

impl User<'_> {
    /// May do everything, whatever RBAC says.
    pub(super) const ADMIN: User<'static> = User { name: "admin", group: Some("system:masters") };
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}
