//! Whether the cluster knows native sidecars. On one that does not, an init container that never ends keeps its pod from ever
//! starting, so nothing is injected there.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;
use tokio::time::sleep;

use super::events;

/// The oldest Kubernetes that has them without being asked to.
pub const OLDEST: (u32, u32) = (1, 29);

/// The pause before the API server is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// Asks the API server, until it answers.
pub async fn has_native_sidecars(client: &Client) -> bool {
    loop {
        match client.apiserver_version().await {
            Ok(info) => {
                let has = is_recent(&info);
                if !has {
                    events::too_old(&info.git_version);
                }
                return has;
            }
            Err(error) => events::version_unknown(&error.to_string()),
        }
        sleep(PAUSE).await;
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
