//! Makes certificates. The time is an argument; keys come from the system's random numbers.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::judge;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the CA lasts: ten years.
pub const CA_LIFE: Duration = Duration::from_secs(3653 * DAY.as_secs());

/// How long a serving certificate lasts: ninety days.
pub const SERVING_LIFE: Duration = Duration::from_secs(90 * DAY.as_secs());

/// How far the clocks of whoever looks at a certificate may be behind.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// What the Secret holds, all of it PEM.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// What everyone else trusts: first the certificate of the CA that signs, then that of the one that is going to, if there is
    /// one, then those that did.
    pub ca_certificate: String,
    /// The key of the first.
    pub ca_key: String,
    /// The key of the second, if it is going to sign; else empty.
    pub next_key: String,
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

/// How many names a certificate has at most.
const MAX_NAMES: usize = 32;

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

    /// These and others, each once, up to a bound.
    #[must_use]
    pub fn and<'a>(&self, others: impl IntoIterator<Item = &'a str>) -> Self {
        let mut names = self.0.clone();
        for other in others {
            if names.len() < MAX_NAMES && !names.iter().any(|name| name == other) {
                names.push(other.to_owned());
            }
        }
        Self(names)
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
    /// There is no CA that could sign.
    #[error("cannot make a certificate: {0}")]
    NoAuthority(String),
    /// The clock shows a year that certificates do not know.
    #[error("cannot make a certificate for the time that the clock shows: set the node's clock")]
    Clock,
}

/// A new CA with a serving certificate of its own.
///
/// # Errors
/// When a name cannot stand in a certificate.
pub fn everything(names: &ServerNames, now: SystemTime) -> Result<Bundle, IssueError> {
    let (ca_certificate, ca_key) = authority(now)?;
    serving(&Bundle { ca_certificate, ca_key, ..Bundle::default() }, names, now)
}

/// A new serving certificate of the CA that is there. It does not outlive that.
///
/// # Errors
/// When the CA is not one, or a name cannot stand in a certificate.
pub fn serving(stored: &Bundle, names: &ServerNames, now: SystemTime) -> Result<Bundle, IssueError> {
    let issuer = Issuer::from_ca_cert_pem(&stored.ca_certificate, KeyPair::from_pem(&stored.ca_key)?)?;
    let end = judge::end_of(&stored.ca_certificate).map_err(IssueError::NoAuthority)?;
    let life = SERVING_LIFE.min(end.duration_since(now).unwrap_or_default());
    let key = KeyPair::generate()?;
    let mut params = lasting(life, now)?;
    params.subject_alt_names = CertificateParams::new(names.0.clone())?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Bundle {
        ca_certificate: without_ended(stored, now),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        ..stored.clone()
    })
}

/// What everyone trusts, without those who signed once and have ended.
fn without_ended(stored: &Bundle, now: SystemTime) -> String {
    let mut all = blocks(&stored.ca_certificate);
    // The one that signs and the one that is going to stay where they are.
    let kept = if stored.next_key.is_empty() { 1 } else { 2 };
    let others = all.split_off(kept.min(all.len()));
    all.concat() + &still_good(&others.concat(), now).concat()
}

/// What is there and a CA that is going to sign: everyone who looks from now on trusts both.
///
/// # Errors
/// When the library does not do it.
pub fn next(stored: &Bundle, now: SystemTime) -> Result<Bundle, IssueError> {
    let (certificate, next_key) = authority(now)?;
    let mut trusted = still_good(&stored.ca_certificate, now);
    // Who was going to sign, if there was somebody, cannot.
    if !stored.next_key.is_empty() && trusted.len() > 1 {
        trusted.remove(1);
    }
    trusted.insert(1.min(trusted.len()), certificate);
    Ok(Bundle { ca_certificate: trusted.concat(), next_key, ..stored.clone() })
}

/// A serving certificate of the CA that was going to sign. Who trusts only the one before does so for as long as it lasts.
///
/// # Errors
/// When there is none, or a name cannot stand in a certificate.
pub fn succeeded(stored: &Bundle, names: &ServerNames, now: SystemTime) -> Result<Bundle, IssueError> {
    let mut all = blocks(&stored.ca_certificate);
    if all.len() < 2 || stored.next_key.is_empty() {
        return Err(IssueError::NoAuthority("there is no next authority".to_owned()));
    }
    all.swap(0, 1);
    let others = still_good(&all.split_off(1).concat(), now);
    let ca_certificate = all.concat() + &others.concat();
    serving(
        &Bundle { ca_certificate, ca_key: stored.next_key.clone(), next_key: String::new(), ..stored.clone() },
        names,
        now,
    )
}

/// A certificate and a key.
fn authority(now: SystemTime) -> Result<(String, String), IssueError> {
    let key = KeyPair::generate()?;
    let mut params = lasting(CA_LIFE, now)?;
    params.distinguished_name.push(DnType::CommonName, "wasmesh CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The certificates of a text that have not ended.
fn still_good(pem: &str, now: SystemTime) -> Vec<String> {
    let has_time = |block: &String| judge::end_of(block).is_ok_and(|end| end > now);
    blocks(pem).into_iter().filter(has_time).collect()
}

/// The certificates of a text, each as the text that it is.
pub(super) fn blocks(pem: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut blocks = Vec::new();
    let mut rest = pem;
    while let Some(begin) = rest.find(BEGIN)
        && let Some(length) = rest[begin..].find(END)
    {
        let end = begin + length + END.len();
        blocks.push(format!("{}\n", &rest[begin..end]));
        rest = &rest[end..];
    }
    blocks
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
