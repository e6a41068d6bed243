//! What stored certificates are worth at a moment. Pure.
//!
//! Whether clients would accept the serving certificate is asked of the verifier that they use, once for each name.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::issue::{Bundle, ServerNames};

/// What is to be done about stored certificates.
#[derive(Debug)]
pub struct Judgement {
    /// What servers can use meanwhile.
    pub usable: Option<Arc<CertifiedKey>>,
    /// What is to be made.
    pub action: Action,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing yet.
    Keep,
    /// A serving certificate of the CA that is there, because of this.
    Renew(String),
    /// A CA and all that depends on it, because of this.
    Replace(String),
}

/// Judges what is stored.
#[must_use]
pub fn judge(stored: &Bundle, names: &ServerNames, now: SystemTime) -> Judgement {
    let ca = check_ca(stored, now);
    let serving = check_serving(stored, names, now);
    let usable = serving.as_ref().ok().map(|(key, _)| Arc::clone(key));
    let action = match (ca, serving) {
        (Err(why), _) => Action::Replace(why),
        (Ok(()), Err(why)) => Action::Renew(why),
        (Ok(()), Ok((_, renew_at))) if now >= renew_at => Action::Renew("two thirds of its life are over".to_owned()),
        (Ok(()), Ok(_)) => Action::Keep,
    };
    Judgement { usable, action }
}

/// A CA that outlives what it would sign now.
fn check_ca(stored: &Bundle, now: SystemTime) -> Result<(), String> {
    let der = certificate(&stored.ca_certificate).map_err(|why| format!("ca.crt: {why}"))?;
    let ca = parse(&der).map_err(|why| format!("ca.crt: {why}"))?;
    if !ca.is_ca() {
        return Err("ca.crt is not the certificate of a CA".to_owned());
    }
    let life = life(&ca);
    if !life.contains(&now) {
        return Err(format!(
            "the CA is not valid now: it is from {} to {}",
            ca.validity.not_before, ca.validity.not_after
        ));
    }
    let key = rcgen::KeyPair::from_pem(&stored.ca_key).map_err(|why| format!("ca.key: {why}"))?;
    if key.public_key_raw() != &*ca.public_key().subject_public_key.data {
        return Err("ca.key is not the key of ca.crt".to_owned());
    }
    Ok(())
}

/// What servers can use, and when it is to be renewed.
fn check_serving(
    stored: &Bundle,
    names: &ServerNames,
    now: SystemTime,
) -> Result<(Arc<CertifiedKey>, SystemTime), String> {
    let provider = Arc::new(ring::default_provider());
    let der = certificate(&stored.certificate).map_err(|why| format!("tls.crt: {why}"))?;
    let parsed = parse(&der).map_err(|why| format!("tls.crt: {why}"))?;
    let life = life(&parsed);
    let renew_at = life.start + life.end.duration_since(life.start).unwrap_or_default() / 3 * 2;
    let key = PrivateKeyDer::from_pem_slice(stored.key.as_bytes()).map_err(|why| format!("tls.key: {why}"))?;
    let certified = CertifiedKey::from_der(vec![der.clone()], key, &provider)
        .map_err(|why| format!("tls.crt and tls.key do not belong together: {why}"))?;
    accepted(&der, &stored.ca_certificate, names, now, provider)?;
    Ok((Arc::new(certified), renew_at))
}

fn accepted(
    der: &CertificateDer<'_>,
    ca_certificate: &str,
    names: &ServerNames,
    now: SystemTime,
    provider: Arc<CryptoProvider>,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca_certificate)?).map_err(|why| format!("ca.crt: {why}"))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|why| format!("ca.crt: {why}"))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    for name in names.iter() {
        let server = ServerName::try_from(name).map_err(|why| format!("{name:?} is no name of a server: {why}"))?;
        verifier
            .verify_server_cert(der, &[], &server, &[], now)
            .map_err(|why| format!("clients would not accept tls.crt for {name}: {why}"))?;
    }
    Ok(())
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|why| why.to_string())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|why| format!("not a certificate: {why}"))
}

fn life(certificate: &X509Certificate<'_>) -> std::ops::Range<SystemTime> {
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0));
    at(certificate.validity.not_before.timestamp())..at(certificate.validity.not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Action, judge};
    use crate::certificates::issue::{self, Bundle, CA_LIFE, SERVING_LIFE, ServerNames};

    const DAY: Duration = Duration::from_secs(86_400);

    fn names() -> ServerNames {
        ServerNames::of_service("wasmesh-control-plane", "wasmesh-system", "cluster.local")
    }

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    fn fresh() -> Bundle {
        issue::everything(&names(), start()).unwrap()
    }

    #[track_caller]
    fn check(stored: &Bundle, names: &ServerNames, after: Duration, usable: bool, action: &str) {
        let judgement = judge(stored, names, start() + after);
        let shown = format!("{:?}", judgement.action);
        assert!(shown.contains(action), "{shown:?} lacks {action:?}");
        assert_eq!(judgement.usable.is_some(), usable, "{shown}");
    }

    #[test]
    fn what_was_just_made_is_kept_for_two_thirds_of_its_life() {
        let bundle = fresh();
        check(&bundle, &names(), Duration::ZERO, true, "Keep");
        check(&bundle, &names(), 59 * DAY, true, "Keep");
        check(&bundle, &names(), 60 * DAY, true, "Renew(\"two thirds");
        check(&bundle, &names(), SERVING_LIFE + DAY, false, "Renew");
    }

    #[test]
    fn a_clock_that_is_a_little_behind_accepts_what_is_new() {
        let judgement = judge(&fresh(), &names(), start() - Duration::from_secs(60 * 50));
        assert_eq!(judgement.action, Action::Keep);
    }

    #[test]
    fn renewing_keeps_the_authority() {
        let old = fresh();
        let new = issue::serving(&old.ca_certificate, &old.ca_key, &names(), start() + 60 * DAY).unwrap();
        assert_eq!((&new.ca_certificate, &new.ca_key), (&old.ca_certificate, &old.ca_key));
        assert_ne!(new.certificate, old.certificate);
        check(&new, &names(), SERVING_LIFE + DAY, true, "Keep");
    }

    #[test]
    fn other_names_need_another_certificate() {
        let other = ServerNames::of_service("wasmesh-control-plane", "wasmesh-system", "corp.example");
        check(&fresh(), &other, Duration::ZERO, false, "wasmesh-control-plane.wasmesh-system.svc.corp.example");
    }

    #[test]
    fn damage_costs_no_more_than_what_is_damaged() {
        let (good, strange) = (fresh(), fresh());
        let damaged = |change: fn(&mut Bundle, Bundle)| {
            let mut bundle = good.clone();
            change(&mut bundle, strange.clone());
            bundle
        };
        let renewed = [
            damaged(|bundle, _| bundle.certificate.clear()),
            damaged(|bundle, _| bundle.key.clear()),
            damaged(|bundle, strange| bundle.key = strange.key),
            damaged(|bundle, strange| (bundle.certificate, bundle.key) = (strange.certificate, strange.key)),
            damaged(|bundle, _| bundle.certificate.truncate(200)),
        ];
        for bundle in renewed {
            check(&bundle, &names(), Duration::ZERO, false, "Renew");
        }
        check(&damaged(|bundle, _| bundle.ca_key.clear()), &names(), Duration::ZERO, true, "Replace(\"ca.key");
        check(&damaged(|bundle, strange| bundle.ca_key = strange.ca_key), &names(), Duration::ZERO, true, "Replace");
        let leaf = damaged(|bundle, _| {
            (bundle.ca_certificate, bundle.ca_key) = (bundle.certificate.clone(), bundle.key.clone());
        });
        check(&leaf, &names(), Duration::ZERO, false, "not the certificate of a CA");
        check(&Bundle::default(), &names(), Duration::ZERO, false, "Replace");
    }

    #[test]
    fn an_authority_that_has_expired_is_replaced() {
        check(&fresh(), &names(), CA_LIFE + DAY, false, "Replace(\"the CA is not valid now");
    }

    #[test]
    fn keys_are_not_shown() {
        assert!(!format!("{:?}", fresh()).contains("PRIVATE"));
    }
}
