//! Makes certificates. The time is an argument; keys come from the system's random numbers.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the CA lasts: ten years.
pub const CA_LIFE: Duration = Duration::from_secs(3653 * DAY.as_secs());

/// How long a serving certificate lasts: ninety days.
pub const SERVING_LIFE: Duration = Duration::from_secs(90 * DAY.as_secs());

/// How far the clocks of whoever looks at a certificate may be behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// What the Secret holds, all of it PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// The CA's certificate: what everyone else trusts.
    pub ca_certificate: String,
    /// The CA's key.
    pub ca_key: String,
    /// The certificate that servers show.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No keys in logs.
        f.debug_struct("Bundle").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The names under which the control plane is reached; the certificate is for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNames(Vec<String>);

impl ServerNames {
    /// Those of a Service.
    #[must_use]
    pub fn of_service(name: &str, namespace: &str, cluster_domain: &str) -> Self {
        let short = format!("{name}.{namespace}");
        Self(vec![format!("{short}.svc"), format!("{short}.svc.{cluster_domain}"), short])
    }

    /// The names, the one that the API server uses first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The library does not do it.
    #[error("cannot make a certificate: {0}")]
    Refused(#[from] rcgen::Error),
    /// The clock shows a year that certificates do not know.
    #[error("cannot make a certificate for the time that the clock shows: set the node's clock")]
    Clock,
}

/// A new CA with a serving certificate of its own.
///
/// # Errors
/// When a name cannot stand in a certificate.
pub fn everything(names: &ServerNames, now: SystemTime) -> Result<Bundle, IssueError> {
    let key = KeyPair::generate()?;
    let mut params = lasting(CA_LIFE, now)?;
    params.distinguished_name.push(DnType::CommonName, "wasmesh CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?;
    serving(&certificate.pem(), &key.serialize_pem(), names, now)
}

/// A new serving certificate of the CA that is there.
///
/// # Errors
/// When the CA is not one, or a name cannot stand in a certificate.
pub fn serving(ca_certificate: &str, ca_key: &str, names: &ServerNames, now: SystemTime) -> Result<Bundle, IssueError> {
    let issuer = Issuer::from_ca_cert_pem(ca_certificate, KeyPair::from_pem(ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = lasting(SERVING_LIFE, now)?;
    params.subject_alt_names = CertificateParams::new(names.0.clone())?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Bundle {
        ca_certificate: ca_certificate.to_owned(),
        ca_key: ca_key.to_owned(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

fn lasting(life: Duration, now: SystemTime) -> Result<CertificateParams, IssueError> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| IssueError::Clock)?;
    let at = |since: Duration| {
        let since = since.try_into().map_err(|_| IssueError::Clock)?;
        date_time_ymd(1970, 1, 1).checked_add(since).ok_or(IssueError::Clock)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = at(since_epoch.saturating_sub(CLOCK_SKEW))?;
    params.not_after = at(since_epoch.saturating_add(life))?;
    Ok(params)
}
