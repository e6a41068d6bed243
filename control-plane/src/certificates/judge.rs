//! What stored certificates are worth at a moment. Pure.
//!
//! Whether clients would accept the serving certificate is asked of the verifier that they use, once for each name.

use std::{
    ops::Range,
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
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::issue::{self, Bundle, CLOCK_SKEW, ServerNames};

/// How long everyone may look before a CA that has been added signs: the API server has to hear of it.
const OVERLAP: Duration = Duration::from_secs(60 * 60);

/// What is to be done about stored certificates.
#[derive(Debug)]
pub struct Judgement {
    /// What servers can use meanwhile.
    pub usable: Option<Arc<CertifiedKey>>,
    /// What is to be made.
    pub action: Action,
    /// The CA that signs cannot any more, because it is damaged or has ended. One that is well elsewhere is better than any that
    /// could be made: nobody has to start to trust it.
    pub is_lost: bool,
}

impl Judgement {
    /// Whether it can go on being served, perhaps with a new certificate soon.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.usable.is_some() && !self.is_lost
    }
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing yet.
    Keep,
    /// A serving certificate of the CA that is there, for these names, because of this.
    Renew(ServerNames, String),
    /// A CA that is going to sign, beside the one that does, because of this.
    AddNext(String),
    /// A serving certificate of the CA that was going to sign, because of this.
    Succeed(String),
    /// A CA and all that depends on it, because of this.
    Replace(String),
}

/// Judges what is stored.
///
/// Replicas may want different names, when an option has been changed and only some have been restarted. Whoever finds that its
/// names are missing adds them to those that are there, so that after one write of each there is a certificate for all. Those that
/// nobody wants any more are gone with the next renewal.
#[must_use]
pub fn judge(stored: &Bundle, names: &ServerNames, now: SystemTime) -> Judgement {
    let ca = check_ca(stored, now);
    let serving = check_serving(stored, names, now);
    let usable = serving.as_ref().ok().map(|serving| Arc::clone(&serving.key));
    let is_lost = ca.is_err();
    let action = match (ca, serving) {
        (Err(why), _) if check_next(stored, now).is_ok() => Action::Succeed(why),
        (Err(why), _) => Action::Replace(why),
        (Ok(ca), serving) => match (after(&ca, stored, now), serving) {
            (Some(action @ Action::Succeed(_)), _) => action,
            (_, Err(missing)) => Action::Renew(names.and(missing.others.iter().map(String::as_str)), missing.why),
            (Some(action), Ok(_)) => action,
            // One that ends with its CA cannot be made to last longer.
            (None, Ok(serving)) if now >= serving.renew_at && serving.end < ca.end => {
                Action::Renew(names.clone(), "two thirds of its life are over".to_owned())
            }
            (None, Ok(_)) => Action::Keep,
        },
    };
    Judgement { usable, action, is_lost }
}

/// What is to be done about a CA that will end: whoever starts to trust it in the last fifth of its life trusts the next one too,
/// and that one signs in the last twentieth. Of ten years these are two years and half a year.
fn after(ca: &Range<SystemTime>, stored: &Bundle, now: SystemTime) -> Option<Action> {
    let life = ca.end.duration_since(ca.start).unwrap_or_default();
    let left = ca.end.duration_since(now).unwrap_or_default();
    if left > life / 5 {
        return None;
    }
    match check_next(stored, now) {
        Err(why) => Some(Action::AddNext(why)),
        Ok(next) => {
            let is_known = now >= next.start + CLOCK_SKEW + OVERLAP || left <= OVERLAP;
            (left <= life / 20 && is_known).then(|| Action::Succeed("the one before is near its end".to_owned()))
        }
    }
}

/// A CA that is valid now and can sign; how long it lives.
fn check_ca(stored: &Bundle, now: SystemTime) -> Result<Range<SystemTime>, String> {
    check_authority(&stored.ca_certificate, &stored.ca_key, now).map_err(|why| format!("ca.crt and ca.key: {why}"))
}

/// The same of the one that is going to sign.
fn check_next(stored: &Bundle, now: SystemTime) -> Result<Range<SystemTime>, String> {
    let second = issue::blocks(&stored.ca_certificate).into_iter().nth(1);
    let second = second.filter(|_| !stored.next_key.is_empty()).ok_or("the one that signs is in its last fifth")?;
    check_authority(&second, &stored.next_key, now).map_err(|why| format!("ca.crt and ca-next.key: {why}"))
}

fn check_authority(certificate_pem: &str, key: &str, now: SystemTime) -> Result<Range<SystemTime>, String> {
    let der = certificate(certificate_pem)?;
    let ca = parse(&der)?;
    if !ca.is_ca() {
        return Err("it is not the certificate of a CA".to_owned());
    }
    let life = life(&ca);
    if !life.contains(&now) {
        return Err(format!(
            "the CA is not valid now: it is from {} to {}",
            ca.validity.not_before, ca.validity.not_after
        ));
    }
    let key = rcgen::KeyPair::from_pem(key).map_err(|why| format!("the key: {why}"))?;
    if key.public_key_raw() != &*ca.public_key().subject_public_key.data {
        return Err("the key is that of another certificate".to_owned());
    }
    Ok(life)
}

/// When the first certificate of a text ends.
pub(super) fn end_of(pem: &str) -> Result<SystemTime, String> {
    let der = certificate(pem)?;
    Ok(life(&parse(&der)?).end)
}

/// What servers can use, and until when.
struct Serving {
    key: Arc<CertifiedKey>,
    renew_at: SystemTime,
    end: SystemTime,
}

/// Why servers cannot use it.
struct Missing {
    why: String,
    /// Names for which it is good: somebody else may need them.
    others: Vec<String>,
}

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Self { why, others: Vec::new() }
    }
}

fn check_serving(stored: &Bundle, names: &ServerNames, now: SystemTime) -> Result<Serving, Missing> {
    let provider = Arc::new(ring::default_provider());
    let der = certificate(&stored.certificate).map_err(|why| format!("tls.crt: {why}"))?;
    let parsed = parse(&der).map_err(|why| format!("tls.crt: {why}"))?;
    let life = life(&parsed);
    let renew_at = life.start + life.end.duration_since(life.start).unwrap_or_default() / 3 * 2;
    let key = PrivateKeyDer::from_pem_slice(stored.key.as_bytes()).map_err(|why| format!("tls.key: {why}"))?;
    let certified = CertifiedKey::from_der(vec![der.clone()], key, &provider)
        .map_err(|why| format!("tls.crt and tls.key do not belong together: {why}"))?;
    let accepted = |name: &str| accepted(&der, &stored.ca_certificate, name, now, Arc::clone(&provider));
    if let Err(why) = names.iter().try_for_each(accepted) {
        let others = names_of(&parsed).filter(|name| accepted(name).is_ok()).map(str::to_owned).collect();
        return Err(Missing { why, others });
    }
    Ok(Serving { key: Arc::new(certified), renew_at, end: life.end })
}

/// The DNS names of a certificate.
fn names_of<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.into_iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}

fn accepted(
    der: &CertificateDer<'_>,
    ca_certificate: &str,
    name: &str,
    now: SystemTime,
    provider: Arc<CryptoProvider>,
) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca_certificate)?).map_err(|why| format!("ca.crt: {why}"))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|why| format!("ca.crt: {why}"))?;
    let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    let server = ServerName::try_from(name).map_err(|why| format!("{name:?} is no name of a server: {why}"))?;
    verifier
        .verify_server_cert(der, &[], &server, &[], now)
        .map_err(|why| format!("clients would not accept tls.crt for {name}: {why}"))?;
    Ok(())
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, String> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|why| why.to_string())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|why| format!("not a certificate: {why}"))
}

fn life(certificate: &X509Certificate<'_>) -> Range<SystemTime> {
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
        check(&bundle, &names(), 60 * DAY, true, "two thirds of its life");
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
        let new = issue::serving(&old, &names(), start() + 60 * DAY).unwrap();
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
        check(
            &damaged(|bundle, _| bundle.ca_key.clear()),
            &names(),
            Duration::ZERO,
            true,
            "Replace(\"ca.crt and ca.key",
        );
        check(&damaged(|bundle, strange| bundle.ca_key = strange.ca_key), &names(), Duration::ZERO, true, "Replace");
        let leaf = damaged(|bundle, _| {
            (bundle.ca_certificate, bundle.ca_key) = (bundle.certificate.clone(), bundle.key.clone());
        });
        check(&leaf, &names(), Duration::ZERO, false, "not the certificate of a CA");
        check(&Bundle::default(), &names(), Duration::ZERO, false, "Replace");
    }

    #[test]
    fn an_authority_that_has_expired_is_replaced() {
        check(&fresh(), &names(), CA_LIFE + DAY, false, "the CA is not valid now");
        let judgement = judge(&fresh(), &names(), start() + CA_LIFE + DAY);
        assert!(matches!(judgement.action, Action::Replace(_)), "{judgement:?}");
    }

    /// What is stored after whatever has to be done now.
    fn settled(stored: &Bundle, names: &ServerNames, now: SystemTime) -> Bundle {
        match judge(stored, names, now).action {
            Action::Keep => stored.clone(),
            Action::Renew(names, _) => issue::serving(stored, &names, now).unwrap(),
            Action::AddNext(_) => issue::next(stored, now).unwrap(),
            Action::Succeed(_) => issue::succeeded(stored, names, now).unwrap(),
            Action::Replace(_) => issue::everything(names, now).unwrap(),
        }
    }

    /// What is stored when there is nothing left to be done now.
    fn done(stored: &Bundle, now: SystemTime) -> Bundle {
        (0..3).fold(stored.clone(), |stored, _| settled(&stored, &names(), now))
    }

    #[test]
    fn replicas_that_want_other_names_agree_after_one_write_of_each() {
        let of_domain = |domain| ServerNames::of_service("wasmesh-control-plane", "wasmesh-system", domain);
        let replicas = [of_domain("cluster.local"), of_domain("corp.example"), of_domain("other.example")];
        let settle_all = |mut stored: Bundle, now| {
            for names in &replicas {
                stored = settled(&stored, names, now);
            }
            for names in &replicas {
                let judgement = judge(&stored, names, now);
                assert!(judgement.usable.is_some());
                assert_eq!(judgement.action, Action::Keep);
            }
            stored
        };
        let stored = settle_all(Bundle::default(), start());
        let stored = settle_all(stored, start() + 60 * DAY);
        // What nobody wants any more goes.
        let stored = settled(&stored, &replicas[0], start() + 120 * DAY);
        check(&stored, &replicas[1], 120 * DAY, false, "corp.example");
    }

    #[test]
    fn names_of_strangers_are_not_taken_over() {
        let (mine, strange) = (fresh(), issue::everything(&names().and(["evil.example"]), start()).unwrap());
        let mixed = Bundle { certificate: strange.certificate, key: strange.key, ..mine };
        let Action::Renew(names, _) = judge(&mixed, &names(), start()).action else { panic!("it is of another CA") };
        assert!(!names.iter().any(|name| name == "evil.example"));
    }

    #[test]
    fn a_certificate_does_not_outlive_its_authority() {
        let late = start() + CA_LIFE - 30 * DAY;
        let bundle = issue::serving(&fresh(), &names(), late).unwrap();
        assert_eq!(super::end_of(&bundle.certificate), super::end_of(&bundle.ca_certificate));
    }

    #[test]
    fn whoever_trusts_an_authority_two_years_before_its_end_is_never_cut_off() {
        let mut stored = fresh();
        let first = stored.ca_certificate.clone();
        // What a sidecar trusts whose pod was made then.
        let mut trusted_by_pods = Vec::new();
        let mut served = Vec::new();
        let mut day = 0;
        while day < 3653 + 700 {
            let now = start() + day * DAY;
            stored = done(&stored, now);
            let judgement = judge(&stored, &names(), now);
            assert!(judgement.usable.is_some(), "day {day}");
            assert!(!matches!(judgement.action, Action::Replace(_)), "day {day}");
            trusted_by_pods.push((day, stored.ca_certificate.clone()));
            served.push((day, stored.clone()));
            day += 20;
        }
        assert!(!stored.ca_certificate.contains(&first), "what has ended is forgotten with the next renewal");
        let provider = || std::sync::Arc::new(rustls::crypto::ring::default_provider());
        for (made, trusted) in trusted_by_pods {
            for (day, stored) in served.iter().filter(|(day, _)| (made..made + 500).contains(day)) {
                let der = super::certificate(&stored.certificate).unwrap();
                let now = start() + *day * DAY;
                let is_trusted = issue::blocks(&trusted)
                    .iter()
                    .any(|ca| names().iter().all(|name| super::accepted(&der, ca, name, now, provider()).is_ok()));
                assert!(is_trusted, "a pod of day {made} on day {day}");
            }
        }
    }

    #[test]
    fn an_authority_that_is_added_is_known_before_it_signs() {
        let stored = fresh();
        let late = start() + CA_LIFE - DAY;
        let added = done(&stored, late);
        assert!(added.ca_certificate.starts_with(&stored.ca_certificate));
        assert_eq!(issue::blocks(&added.ca_certificate).len(), 2);
        assert!(!matches!(judge(&added, &names(), late).action, Action::Succeed(_)));
        let later = late + 2 * super::OVERLAP;
        let new = done(&added, later);
        assert_eq!((new.ca_key, new.next_key.as_str()), (added.next_key, ""));
        assert!(new.ca_certificate.contains(&stored.ca_certificate));
    }

    #[test]
    fn one_that_cannot_sign_is_not_the_next() {
        let late = start() + CA_LIFE - 300 * DAY;
        let added = done(&fresh(), late);
        let damaged = Bundle { next_key: fresh().ca_key, ..added };
        assert!(matches!(judge(&damaged, &names(), late).action, Action::AddNext(_)));
        let mended = done(&damaged, late);
        assert_eq!(issue::blocks(&mended.ca_certificate).len(), 2);
        // Even if nobody was there when it should have signed.
        let new = done(&mended, start() + CA_LIFE + DAY);
        assert_eq!(new.ca_key, mended.next_key);
    }

    #[test]
    fn keys_are_not_shown() {
        assert!(!format!("{:?}", fresh()).contains("PRIVATE"));
    }
}
