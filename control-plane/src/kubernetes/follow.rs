//! Follows objects of the API server, broken or not, for ever.

use std::{fmt::Debug, time::Duration};

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use kube::runtime::watcher;
use tokio::time::{sleep, timeout};

use super::explain;

/// The pause after a first failure. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: how late an API server that comes back is noticed.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A watch that has been tried again and does not fail within this time works. Nothing else tells: a watch without changes
/// is silent.
const WORKS_AFTER: Duration = Duration::from_secs(15);
/// After so many refusals in a row, a second or two, it is one: an API server that has just started refuses what it will allow.
const REFUSED: u32 = 4;
/// After so many failures in a row, some twenty seconds, it makes no difference any more why.
const HOPELESS: u32 = 8;
/// How many objects a list gives at a time, where they cannot be streamed.
const PAGE: u32 = 500;

/// What is to be said of the objects that are followed.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<K> {
    /// All objects are going to be listed, because nothing is known yet or too much was missed.
    ListBegins,
    /// An object of the list.
    Listed(K),
    /// The list is complete: what was not in it does not exist.
    ListEnds,
    /// An object is new or changed.
    Applied(K),
    /// An object is gone.
    Deleted(K),
    /// The watch is broken for now; it is taken up again when the next event is asked for, after a pause.
    Failed {
        /// Why.
        reason: String,
        /// Whether there is no point in waiting for it: the API server refuses it, or it has been broken for long.
        is_final: bool,
    },
    /// It works again, although there is nothing to say.
    Works,
}

/// The events of what `open` watches, which lets it rest when it fails. Never ends.
pub fn follow<K, S>(
    config: watcher::Config,
    open: impl Fn(watcher::Config) -> S + Send + 'static,
) -> BoxStream<'static, Event<K>>
where
    K: Debug + Send + 'static,
    S: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
{
    // A list that is streamed needs no memory for all of its objects at once, neither here nor there.
    let config = watcher::Config { page_size: Some(PAGE), ..config }.streaming_lists();
    let follower =
        Follower { watch: Box::pin(open(config.clone())), config, open, failures: 0, rest: None, is_listing: false };
    stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await;
        Some((event, follower))
    })
    .boxed()
}

struct Follower<K, O> {
    config: watcher::Config,
    open: O,
    watch: BoxStream<'static, watcher::Result<watcher::Event<K>>>,
    /// How often it has failed since it last worked.
    failures: u32,
    /// How long to wait before it goes on: once for each failure.
    rest: Option<Duration>,
    is_listing: bool,
}

impl<K, O, S> Follower<K, O>
where
    K: Debug + Send + 'static,
    O: Fn(watcher::Config) -> S,
    S: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
{
    async fn next(&mut self) -> Event<K> {
        if let Some(rest) = self.rest.take() {
            sleep(rest).await;
        }
        loop {
            let said = match self.failures {
                0 => self.watch.next().await,
                // Reading a list may take long, and ends.
                _ if self.is_listing => self.watch.next().await,
                _ => match timeout(WORKS_AFTER, self.watch.next()).await {
                    Ok(said) => said,
                    Err(_) => {
                        self.failures = 0;
                        return Event::Works;
                    }
                },
            };
            match said {
                Some(Ok(event)) => match self.take(event) {
                    Some(event) => return event,
                    None => continue,
                },
                Some(Err(error)) if self.cannot_stream(&error) => {
                    tracing::info!("the API server does not stream lists, they are read in pages");
                    self.config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    self.reopen();
                }
                Some(Err(error)) => {
                    if is_lost(&error) {
                        self.reopen();
                    }
                    return self.failed(explain(&error), is_refused(&error));
                }
                None => self.reopen(),
            }
        }
    }

    fn take(&mut self, event: watcher::Event<K>) -> Option<Event<K>> {
        Some(match event {
            watcher::Event::Init if self.is_listing => {
                // The watcher begins anew without a word when a list is cut short, and at once.
                return Some(self.failed("the list was cut short".to_owned(), false));
            }
            watcher::Event::Init => {
                self.is_listing = true;
                Event::ListBegins
            }
            watcher::Event::InitApply(object) => Event::Listed(object),
            watcher::Event::InitDone => {
                (self.is_listing, self.failures) = (false, 0);
                Event::ListEnds
            }
            watcher::Event::Apply(object) => {
                self.failures = 0;
                Event::Applied(object)
            }
            watcher::Event::Delete(object) => {
                self.failures = 0;
                Event::Deleted(object)
            }
        })
    }

    fn failed(&mut self, reason: String, is_refused: bool) -> Event<K> {
        self.is_listing = false;
        self.failures = self.failures.saturating_add(1);
        self.rest = Some(pause(self.failures));
        let is_final = self.failures >= if is_refused { REFUSED } else { HOPELESS };
        Event::Failed { reason, is_final }
    }

    fn reopen(&mut self) {
        self.watch = Box::pin((self.open)(self.config.clone()));
        self.is_listing = false;
    }

    /// Whether the error means that lists must be read in pages: before Kubernetes 1.34 streaming them may be switched off.
    fn cannot_stream(&self, error: &watcher::Error) -> bool {
        let is_refused = |status: &kube::core::Status| {
            matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents")
        };
        self.config.initial_list_strategy == watcher::InitialListStrategy::StreamingList
            && match error {
                watcher::Error::WatchStartFailed(kube::Error::Api(status)) => is_refused(status),
                watcher::Error::WatchError(status) => is_refused(status),
                _ => false,
            }
    }
}

/// Whether the watch would go on from a version that the API server does not know any more, or does not know yet because it
/// has been set back: only reading everything anew helps.
fn is_lost(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            status.code == 410 || status.message.contains("Too large resource version")
        }
        _ => false,
    }
}

/// Whether the API server will say the same again: this is not allowed here, or is not known.
fn is_refused(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error)
    | watcher::Error::WatchStartFailed(error)
    | watcher::Error::WatchFailed(error)) = error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 404))
}

/// The pause after so many failures, with jitter: the watches of all replicas fail together.
fn pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(MAX_PAUSE);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    fn named(n: usize) -> Service {
        let mut service = Service::default();
        service.metadata.name = Some(format!("service-{n}"));
        service
    }

    #[tokio::test]
    async fn a_failure_is_rested_from_once_however_long_the_list_after_it() {
        const OBJECTS: usize = 5_000;
        let said = || {
            let listed = (0..OBJECTS).map(|n| Ok(watcher::Event::InitApply(named(n))));
            let list = std::iter::once(Ok(watcher::Event::Init)).chain(listed).chain([Ok(watcher::Event::InitDone)]);
            stream::iter(std::iter::once(Err(watcher::Error::NoResourceVersion)).chain(list))
        };
        let events = follow(watcher::Config::default(), move |_| said());
        // If each of them were rested from, this would take a quarter of an hour.
        let events = timeout(Duration::from_secs(60), events.take(OBJECTS + 3).collect::<Vec<_>>()).await.unwrap();
        assert!(matches!(events[0], Event::Failed { is_final: false, .. }));
        assert_eq!((&events[1], &events[OBJECTS + 2]), (&Event::ListBegins, &Event::ListEnds));
    }

    #[tokio::test]
    async fn what_is_refused_again_and_again_is_refused() {
        let refusal = || {
            let status = kube::core::Status { code: 403, ..kube::core::Status::default() };
            watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status)))
        };
        let open = move |_| stream::repeat_with(move || Err::<watcher::Event<Service>, _>(refusal()));
        let events = follow(watcher::Config::default(), open).take(4).collect::<Vec<_>>().await;
        let finals: Vec<_> = events.iter().map(|event| matches!(event, Event::Failed { is_final: true, .. })).collect();
        assert_eq!(finals, [false, false, false, true]);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        for (failures, most) in [(1, 200), (2, 400), (3, 800), (6, 5000), (u32::MAX, 5000)] {
            let most = Duration::from_millis(most);
            let pause = pause(failures);
            assert!(pause >= most / 2 && pause <= most, "{failures}: {pause:?}");
        }
    }
}
