//! What is simulated: a scenario, as its author writes it.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, ensure};
use serde::Deserialize;
use wasmesh_policy_host::Word;

use super::body;
use crate::policy::load::read_text;

/// A whole scenario. Times are milliseconds unless their name says otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Scenario {
    /// All that is random follows from it.
    #[serde(default = "one")]
    pub(super) seed: u64,
    /// How long requests come.
    pub(super) seconds: f64,
    pub(super) clients: Clients,
    /// Groups of endpoints that are alike. They are numbered through, from 0.
    pub(super) endpoints: Vec<Group>,
    #[serde(default)]
    pub(super) network: Network,
    /// What happens on the way.
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

/// Who asks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Clients {
    /// Each sees its own requests only.
    pub(super) sidecars: usize,
    /// Of all together; they come at random (a Poisson process).
    pub(super) requests_per_second: f64,
    /// The sidecars are in these in turn.
    #[serde(default)]
    pub(super) zones: Vec<String>,
    /// What requests have: by words as in a policy's plan, such as `header:x-session`. Those of `json:` words are in a body.
    #[serde(default)]
    pub(super) keys: BTreeMap<String, Values>,
    /// Which of these the built-in hash policies go by.
    #[serde(default = "path")]
    pub(super) hash_by: String,
}

/// Which values there are, and how often each comes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Values {
    /// So many that nobody has named; they have what the named ones leave.
    pub(super) distinct: usize,
    /// Exponent of Zipf's law: 0 is all the same, about 1 is usual of people and what they look at.
    pub(super) skew: f64,
    /// Values that matter, by what they are.
    pub(super) named: BTreeMap<String, Named>,
}

/// One value that matters.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Named {
    /// Of all requests, from 0 to 1.
    pub(super) share: f64,
    /// A request with it takes so many times as long.
    #[serde(default = "one_time")]
    pub(super) slower: f64,
}

/// Endpoints that are alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Group {
    #[serde(default = "one_of_it")]
    pub(super) count: usize,
    #[serde(default)]
    pub(super) zone: String,
    #[serde(default = "one_weight")]
    pub(super) weight: u32,
    #[serde(default)]
    pub(super) priority: u32,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) service_time: ServiceTime,
    /// Requests that are worked on at once; more wait in line.
    pub(super) at_once: usize,
    /// Share of requests that it answers with 503, at once.
    #[serde(default)]
    pub(super) failing: f64,
    /// What it remembers of requests.
    #[serde(default)]
    pub(super) cache: Option<Cache>,
    /// Whether it is there from the beginning; else an event brings it.
    #[serde(default = "yes")]
    pub(super) present: bool,
    /// How it is when it has just come.
    #[serde(default)]
    pub(super) warm_up: Option<WarmUp>,
    /// What it says of itself, by the name that it says it under. If this is left out, how busy it is under every name.
    #[serde(default)]
    pub(super) reports: Option<BTreeMap<String, Reported>>,
    /// By words: the only values of them that it serves. Any other request is answered with an error at once.
    #[serde(default)]
    pub(super) serves: BTreeMap<String, Vec<String>>,
}

/// Whoever comes while requests come is slow at first: nothing is compiled, cached or connected yet.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WarmUp {
    /// How long, in a straight line down to its usual speed.
    pub(super) seconds: f64,
    /// How many times as long requests take at first.
    pub(super) slower: f64,
}

/// What an endpoint can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reported {
    /// How many requests wait in line.
    Waiting,
    /// How many it works on.
    Running,
    /// How much of what it can do at once it does: 1 is all; more while requests wait.
    Utilization,
}

/// How long a request is worked on: a log-normal distribution, by two of its points.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ServiceTime {
    pub(super) median: f64,
    /// The 99th percentile; that of the median for a fixed time.
    pub(super) p99: f64,
}

/// The values of a key that were asked for last; a request for one of them takes less.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Cache {
    pub(super) key: String,
    pub(super) entries: usize,
    /// What a hit takes of the time of a miss, from 0 to 1.
    pub(super) hit: f64,
}

/// Ways to and from endpoints.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Network {
    /// There and back, within a zone or where zones are not known.
    pub(super) same_zone: f64,
    pub(super) cross_zone: f64,
    /// How long a sidecar does not know yet who has come or gone; each has its own delay up to this.
    pub(super) membership_delay: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self { same_zone: 0.3, cross_zone: 1.2, membership_delay: 500.0 }
    }
}

/// Something that happens to some endpoints.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Event {
    /// Seconds from the beginning.
    pub(super) at: f64,
    pub(super) endpoints: Vec<usize>,
    /// Requests take so many times as long from now on.
    #[serde(default)]
    pub(super) slower: Option<f64>,
    /// The share that fails from now on.
    #[serde(default)]
    pub(super) failing: Option<f64>,
    /// Whether they are there from now on. One that leaves ends what it has begun and refuses what comes.
    #[serde(default)]
    pub(super) present: Option<bool>,
}

fn one() -> u64 {
    1
}

fn one_of_it() -> usize {
    1
}

fn one_weight() -> u32 {
    1
}

fn path() -> String {
    "path".to_owned()
}

fn one_time() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

/// Bounds within which a simulation ends in a reasonable time on a desk.
const MOST_ENDPOINTS: usize = 10_000;
const MOST_SIDECARS: usize = 10_000;
const MOST_REQUESTS: f64 = 20e6;
const MOST_PER_SECOND: f64 = 1e6;
/// Endpoints, each as each sidecar sees it.
const MOST_VIEWS: usize = 2_000_000;
const MOST_ENTRIES: usize = 100_000;
/// An hour: nothing takes longer, and nothing is so many times as slow.
const MOST_MS: f64 = 3.6e6;

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no scenario, or one that makes no sense; says where.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        Self::parse(&read_text(file)?).with_context(|| file.display().to_string())
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut scenario: Self = serde_saphyr::from_str(text)?;
        scenario.check()?;
        scenario.settle_words()?;
        Ok(scenario)
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.endpoints.iter().map(|group| group.count).sum()
    }

    /// Writes words as plans have them: names of headers in lower case.
    fn settle_words(&mut self) -> anyhow::Result<()> {
        let settled = |word: &str| match Word::parse(word) {
            Ok(word) => Ok(word.to_string()),
            Err(why) => anyhow::bail!("clients.keys: {word} {why}"),
        };
        let keys = std::mem::take(&mut self.clients.keys);
        self.clients.keys =
            keys.into_iter().map(|(word, values)| Ok((settled(&word)?, values))).collect::<anyhow::Result<_>>()?;
        let words = self.clients.keys.keys().map(|word| (word.as_str(), "value"));
        body::check(words).context("clients.keys")?;
        self.clients.hash_by = settled(&self.clients.hash_by)?;
        let hash_by = &self.clients.hash_by;
        ensure!(
            *hash_by == path() || self.clients.keys.contains_key(hash_by),
            "clients.hashBy is {hash_by:?}, which clients.keys does not have"
        );
        for group in &mut self.endpoints {
            if let Some(cache) = &mut group.cache {
                cache.key = settled(&cache.key)?;
            }
            let serves = std::mem::take(&mut group.serves);
            group.serves = serves
                .into_iter()
                .map(|(word, values)| Ok((settled(&word)?, values)))
                .collect::<anyhow::Result<_>>()?;
        }
        Ok(())
    }

    fn check(&self) -> anyhow::Result<()> {
        let positive = |value: f64, what: &str| {
            ensure!(value > 0.0 && value <= MOST_MS, "{what} is {value}: it must be more than 0 and at most {MOST_MS}");
            Ok(())
        };
        let share = |value: f64, what: &str| {
            ensure!((0.0..=1.0).contains(&value), "{what} is {value}: it must be from 0 to 1");
            Ok(())
        };
        positive(self.seconds, "seconds")?;
        positive(self.clients.requests_per_second, "clients.requestsPerSecond")?;
        let rate = self.clients.requests_per_second;
        ensure!(rate <= MOST_PER_SECOND, "clients.requestsPerSecond is {rate}: at most {MOST_PER_SECOND}");
        let requests = self.seconds * self.clients.requests_per_second;
        ensure!(requests <= MOST_REQUESTS, "{requests} requests are too many: {MOST_REQUESTS} at most");
        let sidecars = self.clients.sidecars;
        ensure!((1..=MOST_SIDECARS).contains(&sidecars), "clients.sidecars is {sidecars}: 1 to {MOST_SIDECARS}");
        for (word, values) in &self.clients.keys {
            let least = usize::from(values.named.is_empty());
            ensure!((least..=1_000_000).contains(&values.distinct), "clients.keys.{word}.distinct: 1 to 1000000");
            ensure!((0.0..=10.0).contains(&values.skew), "clients.keys.{word}.skew: 0 to 10");
            for (name, named) in &values.named {
                share(named.share, &format!("clients.keys.{word}.named.{name}.share"))?;
                positive(named.slower, &format!("clients.keys.{word}.named.{name}.slower"))?;
            }
            let shares: f64 = values.named.values().map(|named| named.share).sum();
            let rest = if values.distinct == 0 { 1.0 - 1e-9 } else { 0.0 };
            ensure!(
                (rest..=1.0 + 1e-9).contains(&shares),
                "clients.keys.{word}.named: the shares make {shares} together; at most 1, and 1 if distinct is 0"
            );
        }
        for (at, group) in self.endpoints.iter().enumerate() {
            // Before they are added up.
            let count = group.count;
            ensure!(count <= MOST_ENDPOINTS, "endpoints[{at}].count is {count}: at most {MOST_ENDPOINTS}");
        }
        let len = self.len();
        ensure!((1..=MOST_ENDPOINTS).contains(&len), "{len} endpoints: there must be 1 to {MOST_ENDPOINTS}");
        ensure!(
            len * sidecars <= MOST_VIEWS,
            "{sidecars} sidecars with {len} endpoints each are too many: {MOST_VIEWS} at most, one with the other"
        );
        for (at, group) in self.endpoints.iter().enumerate() {
            let of = |what: &str| format!("endpoints[{at}].{what}");
            positive(group.service_time.median, &of("serviceTime.median"))?;
            ensure!(
                (group.service_time.median..=MOST_MS).contains(&group.service_time.p99),
                "{} must be from the median to {MOST_MS}",
                of("serviceTime.p99")
            );
            ensure!(group.at_once > 0, "{} is 0: nothing would ever be answered", of("atOnce"));
            ensure!(group.weight > 0, "{} is 0: it must be at least 1", of("weight"));
            share(group.failing, &of("failing"))?;
            if let Some(cache) = &group.cache {
                share(cache.hit, &of("cache.hit"))?;
                let entries = cache.entries;
                ensure!(entries <= MOST_ENTRIES, "{} is {entries}: at most {MOST_ENTRIES}", of("cache.entries"));
                let known = self.clients.keys.contains_key(&cache.key);
                ensure!(known, "{} is {:?}, which clients.keys does not have", of("cache.key"), cache.key);
            }
            if let Some(WarmUp { seconds, slower }) = group.warm_up {
                positive(seconds, &of("warmUp.seconds"))?;
                positive(slower, &of("warmUp.slower"))?;
            }
            for (word, values) in &group.serves {
                let known = self.clients.keys.get(word);
                for value in values {
                    let known = known.is_some_and(|known| known.named.contains_key(value));
                    ensure!(known, "{} has {value:?}, which clients.keys.{word}.named does not have", of("serves"));
                }
            }
        }
        for (at, event) in self.events.iter().enumerate() {
            ensure!(
                (0.0..=MOST_MS / 1e3).contains(&event.at),
                "events[{at}].at is {}: seconds, up to an hour",
                event.at
            );
            if let Some(unknown) = event.endpoints.iter().find(|endpoint| **endpoint >= len) {
                anyhow::bail!("events[{at}].endpoints has {unknown}: there are {len}, numbered from 0");
            }
            event.slower.map_or(Ok(()), |slower| positive(slower, &format!("events[{at}].slower")))?;
            event.failing.map_or(Ok(()), |failing| share(failing, &format!("events[{at}].failing")))?;
        }
        let Network { same_zone, cross_zone, membership_delay } = self.network;
        for (value, what) in [(same_zone, "sameZone"), (cross_zone, "crossZone"), (membership_delay, "membershipDelay")]
        {
            ensure!((0.0..=MOST_MS).contains(&value), "network.{what} is {value}: from 0 to {MOST_MS}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Scenario;

    const GOOD: &str = "
seconds: 10
clients: { sidecars: 2, requestsPerSecond: 100 }
endpoints: [{ count: 3, serviceTime: { median: 10, p99: 20 }, atOnce: 4 }]
";

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        Scenario::parse(GOOD).unwrap();
        for (from, to, complaint) in [
            ("seconds: 10", "seconds: 0", "seconds is 0"),
            ("sidecars: 2", "sidecars: 0", "clients.sidecars is 0"),
            ("count: 3", "count: 0", "0 endpoints"),
            ("atOnce: 4", "atOnce: 0", "endpoints[0].atOnce is 0"),
            ("p99: 20", "p99: 2", "endpoints[0].serviceTime.p99 must be from the median"),
            ("atOnce: 4", "atOnce: 4, failing: 2", "endpoints[0].failing is 2"),
            ("count: 3", "cuont: 3", "cuont"),
            (
                "seconds: 10",
                "seconds: 10\nevents: [{at: 1, endpoints: [3], present: false}]",
                "events[0].endpoints has 3",
            ),
            ("count: 3", "count: 18446744073709551615", "endpoints[0].count is 18446744073709551615"),
            ("requestsPerSecond: 100", "requestsPerSecond: 1e8", "at most"),
            ("sidecars: 2,", "sidecars: 2, keys: { 'headers:x': { distinct: 2 } },", "headers:x"),
            ("sidecars: 2,", "sidecars: 2, keys: { path: { named: { /a: { share: 0.5 } } } },", "make 0.5 together"),
            (
                "sidecars: 2,",
                "sidecars: 2, keys: { path: { distinct: 1, named: { /a: { share: 2 } } } },",
                "clients.keys.path.named./a.share is 2",
            ),
            (
                "sidecars: 2,",
                "sidecars: 2, keys: { 'json:/a#9': { distinct: 1 }, 'json:/a/b#9': { distinct: 1 } },",
                "clients.keys: json:/a/b#9 has no place",
            ),
            ("sidecars: 2,", "sidecars: 2, hashBy: 'header:x',", "clients.hashBy is \"header:x\""),
            ("atOnce: 4", "atOnce: 4, warmUp: {seconds: 0, slower: 2}", "endpoints[0].warmUp.seconds is 0"),
            ("atOnce: 4", "atOnce: 4, serves: {path: [/a]}", "endpoints[0].serves has \"/a\""),
            ("atOnce: 4", "atOnce: 4, reports: {queue: length}", "length"),
            ("seconds: 10", "seconds: 10\nevents: [{at: .inf, endpoints: [0]}]", "events[0].at is inf"),
            ("median: 10, p99: 20", "median: .nan, p99: 20", "serviceTime.median is NaN"),
            ("atOnce: 4", "atOnce: 4, cache: {key: path, entries: 1, hit: 0.5}", "\"path\", which clients.keys"),
        ] {
            let error = format!("{:#}", Scenario::parse(&GOOD.replace(from, to)).unwrap_err());
            assert!(error.contains(complaint), "{to}: {error}");
        }
    }
}
