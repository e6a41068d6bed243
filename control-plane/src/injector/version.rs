//! Whether the cluster knows native sidecars. On one that does not, an init container that never ends keeps its pod from ever
//! starting, so nothing is injected there.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;
use tokio::{sync::watch, time::sleep};

use super::events;
use crate::kubernetes::{Outage, explain};

/// The oldest Kubernetes that has them without being asked to.
pub const OLDEST: (u32, u32) = (1, 29);

/// The pause before the API server is asked again while nothing is known.
const PAUSE: Duration = Duration::from_secs(2);

/// The pause when something is: a cluster that is too old may be upgraded.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// Asks the API server, until it knows native sidecars, and tells whether it does. It cannot forget them, so that is the end;
/// this never ends.
pub async fn follow(client: Client, has_sidecars: watch::Sender<Option<bool>>) {
    let outage = Outage::default();
    loop {
        match client.apiserver_version().await {
            Ok(info) => {
                let has = is_recent(&info);
                if outage.ends() {
                    events::version_known(&info.git_version);
                }
                if has_sidecars.send_replace(Some(has)) != Some(false) && !has {
                    events::too_old(&info.git_version);
                }
                if has {
                    return std::future::pending().await;
                }
            }
            Err(error) => {
                let is_refused = matches!(&error, kube::Error::Api(status) if matches!(status.code, 403 | 404));
                if outage.begins() {
                    events::version_unknown(&explain(&error), is_refused);
                }
                // Where nobody may ask, it is taken for recent: Kubernetes of that age is out of care.
                if is_refused && has_sidecars.borrow().is_none() {
                    has_sidecars.send_replace(Some(true));
                }
            }
        }
        let is_known = has_sidecars.borrow().is_some();
        sleep(if is_known { LONG_PAUSE } else { PAUSE }).await;
    }
}

/// Some providers write `29+`. What cannot be read is taken for recent: Kubernetes of that age is out of care.
fn is_recent(info: &Info) -> bool {
    let number = |text: &str| text.trim_end_matches(|last: char| !last.is_ascii_digit()).parse::<u32>().ok();
    number(&info.major).zip(number(&info.minor)).is_none_or(|version| version >= OLDEST)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::version::Info;

    use super::is_recent;

    #[test]
    fn versions_are_told_apart() {
        for (major, minor, recent) in [
            ("1", "29", true),
            ("1", "36", true),
            ("1", "29+", true),
            ("2", "0", true),
            ("1", "28", false),
            ("1", "28+", false),
            ("", "", true),
        ] {
            let info = Info { major: major.to_owned(), minor: minor.to_owned(), ..Info::default() };
            assert_eq!(is_recent(&info), recent, "{major}.{minor}");
        }
    }
}
