//! Checks tokens: remembers what the API server has said, and asks it once for each token however many calls wait, and not about
//! those that come from where only bad ones come from.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tonic::metadata::MetadataMap;
use wasmesh_proto::wire;

use super::{
    PodIdentity, Refusal, Reviewer, Unavailable,
    cache::{Cache, Key},
    claims::Claims,
    events::Told,
    sources::Sources,
};

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a question may wait for its turn, and for those who ask about the same token. Whoever waits in vain comes again.
const TURN: Duration = Duration::from_secs(4);

/// How long it takes at most to know who calls.
pub const KNOWN_WITHIN: Duration = TURN.saturating_add(PATIENCE);

/// How many questions are under way at once: after a restart every proxy comes back within seconds.
const AT_ONCE: usize = 32;

/// Checks tokens.
pub struct TokenChecker {
    reviewer: Arc<dyn Reviewer>,
    cache: Mutex<Cache>,
    /// The tokens that somebody is asking about. Whoever comes with the same one waits for the lock.
    asking: Mutex<HashMap<Key, Weak<AsyncMutex<()>>>>,
    sources: Mutex<Sources>,
    started: Instant,
    turns: Semaphore,
    turn: Duration,
    patience: Duration,
    told: Told,
}

impl TokenChecker {
    /// A checker that asks this reviewer.
    pub fn new(reviewer: Arc<dyn Reviewer>) -> Self {
        Self {
            reviewer,
            cache: Mutex::default(),
            asking: Mutex::default(),
            sources: Mutex::default(),
            started: Instant::now(),
            turns: Semaphore::new(AT_ONCE),
            turn: TURN,
            patience: PATIENCE,
            told: Told::default(),
        }
    }

    /// The pod that makes this call.
    pub(super) async fn identify(
        &self,
        metadata: &MetadataMap,
        from: Option<SocketAddr>,
    ) -> Result<Arc<PodIdentity>, Refusal> {
        let claims = token(metadata).and_then(|token| Ok((token, Claims::read(token)?)));
        let who = match (&claims, from) {
            (Ok((_, claims)), _) => claims.to_string(),
            (Err(_), Some(from)) => from.ip().to_string(),
            (Err(_), None) => String::new(),
        };
        let checked = match claims {
            Ok((token, claims)) => self.check(token, &claims, from.map(|from| from.ip())).await,
            Err(refusal) => Err(refusal),
        };
        checked.inspect_err(|refusal| match refusal {
            // Whatever names are in its tokens.
            Refusal::Throttled(from) => self.told.refused(&from.to_string(), refusal),
            _ => self.told.refused(&who, refusal),
        })
    }

    /// Where the pod stands.
    pub(super) fn place(
        &self,
        pod: &PodIdentity,
        claimed: wire::Node,
        zone_of_node: impl FnOnce(&str) -> Option<String>,
    ) -> Result<wire::Node, Refusal> {
        let actual = pod.to_string();
        if !claimed.proxy.is_empty() && claimed.proxy != actual {
            let claimed = claimed.proxy.chars().filter(|c| !c.is_control()).take(100).collect();
            let refusal = Refusal::OtherPod { claimed, actual: actual.clone() };
            self.told.refused(&actual, &refusal);
            return Err(refusal);
        }
        let node = pod.node.clone().unwrap_or_default();
        let zone = zone_of_node(&node).unwrap_or_default();
        Ok(wire::Node { proxy: actual, namespace: pod.namespace.clone(), node, zone, version: claimed.version })
    }

    async fn check(&self, token: &str, claims: &Claims, from: Option<IpAddr>) -> Result<Arc<PodIdentity>, Refusal> {
        let key = Key::of(token);
        let now = SystemTime::now();
        if let Some(known) = self.cache().fresh(&key, now) {
            return known;
        }
        // A token that was good before has not been made up, whoever else comes from there.
        let suspect = from.filter(|_| self.cache().kept(&key, now).is_none());
        let Unavailable(why) = match self.ask_once(key, token, claims, suspect).await {
            Ok(answer) => {
                if let (Ok(pod), Some(from)) = (&answer, from) {
                    self.sources().was_good(from, &pod.uid, self.started.elapsed());
                }
                return answer;
            }
            Err(unavailable) => unavailable,
        };
        match self.cache().kept(&key, SystemTime::now()) {
            Some(pod) => Ok(pod),
            None => Err(Refusal::Unavailable(why)),
        }
    }

    async fn ask_once(
        &self,
        key: Key,
        token: &str,
        claims: &Claims,
        suspect: Option<IpAddr>,
    ) -> Result<Result<Arc<PodIdentity>, Refusal>, Unavailable> {
        let may_ask = |from: &IpAddr| self.sources().may_ask(*from, &claims.uid, self.started.elapsed());
        if let Some(from) = suspect.filter(|from| !may_ask(from)) {
            return Ok(Err(Refusal::Throttled(from)));
        }
        let crowd = || Unavailable("too many proxies come at once".to_owned());
        let (asking, turn_by) = (self.asking(key), Instant::now() + self.turn);
        let _asking = timeout_at(turn_by, asking.lock()).await.map_err(|_| crowd())?;
        if let Some(known) = self.cache().fresh(&key, SystemTime::now()) {
            return Ok(known);
        }
        let Ok(Ok(_turn)) = timeout_at(turn_by, self.turns.acquire()).await else { return Err(crowd()) };
        // Those before it may have been bad: a crowd of them must not be asked about one by one while others wait behind.
        let asks = |from: &IpAddr| self.sources().asks(*from, &claims.uid, self.started.elapsed());
        if let Some(from) = suspect.filter(|from| !asks(from)) {
            return Ok(Err(Refusal::Throttled(from)));
        }
        let answer = timeout(self.patience, self.ask(token, claims)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Unavailable(format!("the API server does not answer within {:?}", self.patience))));
        self.told.asked(answer.as_ref().err());
        let answer = answer?;
        let now = SystemTime::now();
        match &answer {
            Ok(pod) => self.cache().accept(key, Arc::clone(pod), claims.expires, now),
            Err(refusal) => {
                self.cache().refuse(key, refusal.clone(), now);
                if let Some(from) = suspect {
                    self.sources().was_bad(from, self.started.elapsed());
                }
            }
        }
        Ok(answer)
    }

    async fn ask(&self, token: &str, claims: &Claims) -> Result<Result<Arc<PodIdentity>, Refusal>, Unavailable> {
        let status = self.reviewer.review(token).await?;
        let mut pod = match PodIdentity::of(&status) {
            Ok(pod) => pod,
            // The API server says it in words that are not for programs.
            Err(Refusal::NotAccepted(_)) if claims.expires <= SystemTime::now() => return Ok(Err(Refusal::Expired)),
            Err(refusal) => return Ok(Err(refusal)),
        };
        if pod.node.is_none() {
            pod.node = self.reviewer.node_of(&pod).await?;
        }
        Ok(Ok(Arc::new(pod)))
    }

    fn asking(&self, key: Key) -> Arc<AsyncMutex<()>> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = asking.get(&key).and_then(Weak::upgrade) {
            return same;
        }
        asking.retain(|_, lock| lock.strong_count() > 0);
        let new = Arc::new(AsyncMutex::new(()));
        asking.insert(key, Arc::downgrade(&new));
        new
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token(metadata: &MetadataMap) -> Result<&str, Refusal> {
    let header = metadata.get("authorization").ok_or(Refusal::Missing)?;
    let header = header.to_str().map_err(|_| Refusal::Malformed("it is not a text"))?;
    let (scheme, token) = header.split_once(' ').ok_or(Refusal::Malformed("it is not a Bearer token"))?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(Refusal::Malformed("it is not a Bearer token"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::authentication::v1::TokenReviewStatus;
    use serde_json::json;

    use super::{
        super::claims::tests::{payload_of, unsigned},
        *,
    };

    const IN_A_FAR_FUTURE: u64 = 1 << 39;

    /// What an API server would say.
    #[derive(Default)]
    struct Scripted {
        asked: AtomicUsize,
        asked_for_pods: AtomicUsize,
        answer: Mutex<Option<TokenReviewStatus>>,
        is_silent: bool,
    }

    impl Scripted {
        fn says(&self, answer: Option<serde_json::Value>) {
            *self.answer.lock().unwrap() = answer.map(|answer| serde_json::from_value(answer).unwrap());
        }
    }

    #[tonic::async_trait]
    impl Reviewer for Scripted {
        async fn review(&self, _: &str) -> Result<TokenReviewStatus, Unavailable> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            if self.is_silent {
                std::future::pending::<()>().await;
            }
            self.answer.lock().unwrap().clone().ok_or_else(|| Unavailable("429".to_owned()))
        }

        async fn node_of(&self, pod: &PodIdentity) -> Result<Option<String>, Unavailable> {
            self.asked_for_pods.fetch_add(1, Ordering::Relaxed);
            Ok(Some(format!("node-of-{}", pod.name)))
        }
    }

    fn good(pod: &str, node: &[&str]) -> Option<serde_json::Value> {
        Some(json!({ "authenticated": true, "audiences": ["wasmesh"], "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": {
                "authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": [format!("uid-of-{pod}")],
                "authentication.kubernetes.io/node-name": node,
            },
        }}))
    }

    fn checker(reviewer: &Arc<Scripted>) -> TokenChecker {
        TokenChecker::new(Arc::clone(reviewer) as Arc<dyn Reviewer>)
    }

    fn call(token: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
        metadata
    }

    fn token_of(pod: &str) -> String {
        unsigned(&payload_of(pod, IN_A_FAR_FUTURE))
    }

    async fn reason(checker: &TokenChecker, metadata: &MetadataMap) -> &'static str {
        checker.identify(metadata, None).await.map_or_else(|refusal| refusal.reason(), |_| "accepted")
    }

    #[tokio::test]
    async fn a_token_is_asked_about_once_however_many_calls_come_with_it() {
        let reviewer = Arc::new(Scripted::default());
        reviewer.says(good("web-1", &["node-1"]));
        let (checker, call) = (checker(&reviewer), call(&token_of("web-1")));
        let both = tokio::join!(checker.identify(&call, None), checker.identify(&call, None));
        assert_eq!(both.0.unwrap(), both.1.unwrap());
        assert_eq!(reason(&checker, &call).await, "accepted");
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 1);
        assert_eq!(reviewer.asked_for_pods.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_is_no_token_is_not_asked_about() {
        let reviewer = Arc::new(Scripted::default());
        let checker = checker(&reviewer);
        let mut basic = MetadataMap::new();
        assert_eq!(reason(&checker, &basic).await, "no-token");
        basic.insert("authorization", "Basic eA==".parse().unwrap());
        assert_eq!(reason(&checker, &basic).await, "malformed");
        assert_eq!(reason(&checker, &call("nonsense")).await, "malformed");
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_refusal_is_remembered_for_a_moment_and_tells_what_has_expired() {
        let reviewer = Arc::new(Scripted::default());
        reviewer.says(Some(json!({ "error": "invalid bearer token" })));
        let checker = checker(&reviewer);
        for _ in 0..3 {
            assert_eq!(reason(&checker, &call(&token_of("web-1"))).await, "not-accepted");
        }
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 1);
        assert_eq!(reason(&checker, &call(&unsigned(&payload_of("web-1", 10)))).await, "expired");
    }

    async fn reason_from(checker: &TokenChecker, pod: &str, from: [u8; 4]) -> &'static str {
        let (call, from) = (call(&token_of(pod)), SocketAddr::from((from, 1)));
        checker.identify(&call, Some(from)).await.map_or_else(|refusal| refusal.reason(), |_| "accepted")
    }

    #[tokio::test]
    async fn a_flood_of_bad_tokens_is_not_asked_about_and_keeps_nobody_out() {
        const BAD: [u8; 4] = [10, 0, 0, 1];
        const GOOD: [u8; 4] = [10, 0, 0, 2];
        let reviewer = Arc::new(Scripted::default());
        let checker = checker(&reviewer);
        reviewer.says(good("web-1", &["node-1"]));
        assert_eq!(reason_from(&checker, "web-1", BAD).await, "accepted");
        reviewer.says(Some(json!({ "error": "invalid bearer token" })));
        let names: Vec<_> = (0..1_000).map(|n| format!("made-up-{n}")).collect();
        let flood = names.iter().map(|name| reason_from(&checker, name, BAD));
        let reasons = futures_util::future::join_all(flood).await;
        let throttled = reasons.iter().filter(|reason| **reason == "throttled").count();
        let asked = reviewer.asked.load(Ordering::Relaxed);
        assert!(asked < 100 && throttled > 900, "{asked} questions, {throttled} throttled");
        // The API server is asked about whoever else comes, and about those from there whom it has known.
        reviewer.says(good("web-2", &["node-1"]));
        assert_eq!(reason_from(&checker, "web-2", GOOD).await, "accepted");
        let long_ago = SystemTime::now() - super::super::FRESH_FOR;
        let (key, expires) = (Key::of(&token_of("web-1")), SystemTime::now() + Duration::from_secs(100));
        let pod = checker.cache().kept(&key, SystemTime::now()).unwrap();
        checker.cache().accept(key, pod, expires, long_ago);
        assert_eq!(reason_from(&checker, "web-1", BAD).await, "accepted");
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), asked + 2);
        assert_eq!(reason_from(&checker, "made-up-next", BAD).await, "throttled");
        // The kubelet has renewed the token.
        reviewer.says(good("web-1", &["node-1"]));
        let renewed = call(&unsigned(&payload_of("web-1", IN_A_FAR_FUTURE - 1)));
        assert!(checker.identify(&renewed, Some(SocketAddr::from((BAD, 1)))).await.is_ok());
    }

    #[tokio::test]
    async fn an_api_server_that_does_not_answer_is_no_refusal_of_those_it_knew() {
        let reviewer = Arc::new(Scripted::default());
        let (checker, known, unknown) = (checker(&reviewer), call(&token_of("web-1")), call(&token_of("web-2")));
        reviewer.says(good("web-1", &["node-1"]));
        assert_eq!(reason(&checker, &known).await, "accepted");
        reviewer.says(None);
        // As if a minute had passed.
        let long_ago = SystemTime::now() - super::super::FRESH_FOR;
        let pod = checker.identify(&known, None).await.unwrap();
        let expires = SystemTime::now() + Duration::from_secs(100);
        checker.cache().accept(Key::of(&token_of("web-1")), pod, expires, long_ago);
        assert_eq!(reason(&checker, &known).await, "accepted");
        assert_eq!(reason(&checker, &unknown).await, "unavailable");
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 3);
        // Once it can be asked again, it decides.
        reviewer.says(Some(json!({ "error": "the pod is gone" })));
        assert_eq!(reason(&checker, &known).await, "not-accepted");
    }

    #[tokio::test]
    async fn who_waits_for_anothers_question_does_not_wait_for_ever() {
        let reviewer = Arc::new(Scripted { is_silent: true, ..Default::default() });
        let checker = TokenChecker { turn: Duration::from_millis(1), ..checker(&reviewer) };
        let call = call(&token_of("web-1"));
        let first = checker.identify(&call, None);
        let others = async { tokio::join!(reason(&checker, &call), reason(&checker, &call)) };
        tokio::select! {
            biased;
            _ = first => panic!("nobody has answered"),
            reasons = others => assert_eq!(reasons, ("unavailable", "unavailable")),
        }
        assert_eq!(reviewer.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let reviewer = Arc::new(Scripted { is_silent: true, ..Default::default() });
        let checker = TokenChecker { patience: Duration::from_millis(1), ..checker(&reviewer) };
        assert_eq!(reason(&checker, &call(&token_of("web-1"))).await, "unavailable");
    }

    #[tokio::test]
    async fn a_proxy_stands_where_its_pod_does_whatever_it_claims() {
        let reviewer = Arc::new(Scripted::default());
        reviewer.says(good("web-1", &[]));
        let checker = checker(&reviewer);
        let pod = checker.identify(&call(&token_of("web-1")), None).await.unwrap();
        let claimed = |proxy: &str| {
            let [node, zone, namespace] = ["node-9", "zone-9", "kube-system"].map(str::to_owned);
            wire::Node { proxy: proxy.to_owned(), namespace, node, zone, version: "1.2.3".to_owned() }
        };
        let zone = |node: &str| Some(format!("zone-of-{node}"));
        let placed = checker.place(&pod, claimed("shop/web-1"), zone).unwrap();
        assert_eq!((placed.proxy.as_str(), placed.namespace.as_str()), ("shop/web-1", "shop"));
        assert_eq!((placed.node.as_str(), placed.zone.as_str()), ("node-of-web-1", "zone-of-node-of-web-1"));
        assert_eq!(placed.version, "1.2.3");
        assert!(checker.place(&pod, claimed(""), zone).is_ok());
        assert_eq!(checker.place(&pod, claimed("shop/web-2"), zone).unwrap_err().reason(), "other-pod");
    }
}
