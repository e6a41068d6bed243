//! Reads the Secret, writes what is missing, and follows it.
//!
//! Every replica does this. A write names the version that was read, so that of two who write at once one is told to look
//! again, finds what the other has written, and takes that.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
    runtime::watcher,
};
use tokio::{
    sync::watch::{Sender, channel},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    ServingCertificate, events,
    issue::{self, Bundle, IssueError, ServerNames},
    judge::{Action, Judgement, judge},
    serving::Current,
};
use crate::kubernetes::{Outage, explain, follow};

/// The Secret's name.
pub const SECRET: &str = "wasmesh-ca";

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NEXT_KEY: &str = "ca-next.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// How often the Secret is judged again although it has not changed: time passes.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// The pauses between attempts to read the Secret for the first time.
const PAUSES: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_secs(15);

/// How often somebody else may be faster before this is given up until the next look.
const RACES: usize = 5;

/// Takes care of the Secret of one namespace.
pub struct Keeper {
    secrets: Api<Secret>,
    names: ServerNames,
    current: Sender<Current>,
    /// What is served.
    bundle: Bundle,
    /// Whether the last look has failed.
    outage: Outage,
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the Secret cannot be {0}: {1}")]
    Api(&'static str, String),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("what was made cannot be used: {0:?}; this is a defect of the control plane")]
    Unusable(Action),
    #[error("others have written the Secret {RACES} times in a row between reading and writing")]
    Races,
}

impl Keeper {
    /// Waits until there is a certificate to serve with, and makes it if there is none. As long as the API server does not
    /// answer, it asks again.
    pub async fn start(client: Client, namespace: &str, names: ServerNames) -> (ServingCertificate, Self) {
        let secrets = Api::namespaced(client, namespace);
        let outage = Outage::default();
        let mut pause = PAUSES.start;
        loop {
            match settle(&secrets, &names, None, &outage).await {
                Ok((bundle, current)) => {
                    events::adopted(SECRET);
                    let (sender, receiver) = channel(current);
                    let keeper = Self { secrets, names, current: sender, bundle, outage };
                    return (ServingCertificate::new(receiver), keeper);
                }
                Err(error) => events::failed(SECRET, false, outage.begins(), &error.to_string()),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.end);
        }
    }

    /// Renews in time and follows what others write, for ever.
    pub async fn run(mut self) {
        let only_this = watcher::Config::default().fields(&format!("metadata.name={SECRET}"));
        let secrets = self.secrets.clone();
        // What has happened is of no interest: the Secret is read anew.
        let mut changes = follow::follow(only_this, move |config| watcher(secrets.clone(), config));
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outage = Outage::default();
        loop {
            tokio::select! {
                Some(change) = changes.next() => {
                    outage.watch("secrets", "the certificates are looked at every ten minutes", &change);
                    let is_change = matches!(
                        change,
                        follow::Event::ListEnds | follow::Event::Applied(_) | follow::Event::Deleted(_)
                    );
                    if !is_change {
                        continue;
                    }
                }
                _ = looks.tick() => {}
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        match settle(&self.secrets, &self.names, Some(&self.bundle), &self.outage).await {
            Ok((bundle, current)) if bundle != self.bundle => {
                self.bundle = bundle;
                self.current.send_replace(current);
                events::adopted(SECRET);
            }
            Ok(_) => {}
            Err(error) => events::failed(SECRET, true, self.outage.begins(), &error.to_string()),
        }
    }
}

/// Reads, and writes until what is stored can be used. `served` is put back if what is stored has been lost.
async fn settle(
    secrets: &Api<Secret>,
    names: &ServerNames,
    served: Option<&Bundle>,
    outage: &Outage,
) -> Result<(Bundle, Current), KeepError> {
    for _ in 0..RACES {
        let found = secrets.get_opt(SECRET).await.map_err(|error| KeepError::Api("read", explain(&error)))?;
        let stored = found.as_ref().map(bundle_of).unwrap_or_default();
        let now = SystemTime::now();
        let judgement = judge(&stored, names, now);
        let Some(made) = made(&judgement, &stored, served, names, now)? else {
            if outage.ends() {
                events::mended(SECRET);
            }
            return usable(stored, judgement);
        };
        match write(secrets, found, &made).await {
            Ok(()) => {
                if outage.ends() {
                    events::mended(SECRET);
                }
                said(&judgement.action, served == Some(&made), stored == Bundle::default());
                let judgement = judge(&made, names, now);
                return usable(made, judgement);
            }
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() => {}
            // Near the end of its life, what is there still serves.
            Err(error) if judgement.usable.is_some() => {
                events::failed(SECRET, true, outage.begins(), &KeepError::Api("written", explain(&error)).to_string());
                return usable(stored, judgement);
            }
            Err(error) => return Err(KeepError::Api("written", explain(&error))),
        }
    }
    Err(KeepError::Races)
}

/// What is to be stored instead; none if that is good. What is served is put back if the CA that is stored can sign no more.
fn made(
    judgement: &Judgement,
    stored: &Bundle,
    served: Option<&Bundle>,
    names: &ServerNames,
    now: SystemTime,
) -> Result<Option<Bundle>, IssueError> {
    let saved = served.filter(|served| judgement.is_lost && judge(served, names, now).is_well());
    if let Some(saved) = saved {
        return Ok(Some(saved.clone()));
    }
    match &judgement.action {
        Action::Keep => Ok(None),
        Action::Renew(names, _) => issue::serving(stored, names, now).map(Some),
        Action::AddNext(_) => issue::next(stored, now).map(Some),
        Action::Succeed(_) => issue::succeeded(stored, names, now).map(Some),
        Action::Replace(_) => issue::everything(names, now).map(Some),
    }
}

fn said(action: &Action, restored: bool, first: bool) {
    match action {
        Action::Keep => {}
        Action::Renew(_, why) => events::renewed(SECRET, why),
        Action::AddNext(why) => events::next_added(SECRET, why),
        Action::Succeed(why) | Action::Replace(why) if restored => events::restored(SECRET, why),
        Action::Succeed(why) => events::succeeded(SECRET, why),
        Action::Replace(_) if first => events::created(SECRET),
        Action::Replace(why) => events::replaced(SECRET, why),
    }
}

fn usable(bundle: Bundle, judgement: Judgement) -> Result<(Bundle, Current), KeepError> {
    let key = judgement.usable.ok_or(KeepError::Unusable(judgement.action))?;
    let current = Current { key, ca_bundle: Arc::from(bundle.ca_certificate.as_str()) };
    Ok((bundle, current))
}

async fn write(secrets: &Api<Secret>, found: Option<Secret>, bundle: &Bundle) -> Result<(), kube::Error> {
    let is_new = found.is_none();
    let mut secret = found.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "wasmesh".to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    });
    let Bundle { ca_certificate, ca_key, next_key, certificate, key } = bundle;
    let data = secret.data.get_or_insert_default();
    data.remove(NEXT_KEY);
    if !next_key.is_empty() {
        data.insert(NEXT_KEY.to_owned(), ByteString(next_key.clone().into_bytes()));
    }
    for (name, text) in [(CA_CERTIFICATE, ca_certificate), (CA_KEY, ca_key), (CERTIFICATE, certificate), (KEY, key)] {
        data.insert(name.to_owned(), ByteString(text.clone().into_bytes()));
    }
    let params = PostParams::default();
    if is_new {
        secrets.create(&params, &secret).await?;
    } else {
        secrets.replace(SECRET, &params, &secret).await?;
    }
    Ok(())
}

fn bundle_of(secret: &Secret) -> Bundle {
    let text = |name| {
        let bytes = secret.data.as_ref().and_then(|data: &BTreeMap<String, ByteString>| data.get(name));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    Bundle {
        ca_certificate: text(CA_CERTIFICATE),
        ca_key: text(CA_KEY),
        next_key: text(NEXT_KEY),
        certificate: text(CERTIFICATE),
        key: text(KEY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::issue::CA_LIFE;

    #[test]
    fn an_authority_that_is_damaged_comes_back_from_who_serves_with_it() {
        let names = ServerNames::of_service("wasmesh-control-plane", "wasmesh-system", "cluster.local");
        let start = SystemTime::UNIX_EPOCH + CA_LIFE * 5;
        let early = start + CA_LIFE / 2;
        let late = start + CA_LIFE / 10 * 9;
        let fresh = issue::everything(&names, start).unwrap();
        let alone = issue::serving(&fresh, &names, early).unwrap();
        let with_next = issue::serving(&issue::next(&fresh, late).unwrap(), &names, late).unwrap();
        for (served, now) in [(alone, early), (with_next, late)] {
            let damaged = Bundle { ca_key: "nonsense".to_owned(), ..served.clone() };
            let judgement = judge(&damaged, &names, now);
            let made = |served| made(&judgement, &damaged, served, &names, now).unwrap().unwrap();
            assert_eq!(made(Some(&served)), served, "nobody is cut off, whether there is a next one or not");
            assert_eq!(judge(&served, &names, now).action, Action::Keep);
            for of_no_help in [None, Some(&damaged)] {
                let made = made(of_no_help);
                assert_ne!(made.ca_key, served.ca_key);
                assert_eq!(judge(&made, &names, now).action, Action::Keep);
            }
        }
    }
}
