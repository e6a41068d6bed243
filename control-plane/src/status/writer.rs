//! The leader writes the status of policies.
//!
//! `status.ancestors` belongs to several controllers, each of which has entries of its own in it. Server-side apply could keep
//! them apart only if the list were a map with a key for each entry; what tells entries apart is an object (`ancestorRef`),
//! which cannot be a key, and so the list is atomic in Gateway API's policies and in this one. Hence what is written is made
//! of what is there, and written only if that is still there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, interval},
};

use super::{
    conditions::object_status,
    counts::{Counts, Report, name_of, sum},
    replicas::Replicas,
};
use crate::{
    events,
    findings::PolicyStatuses,
    kubernetes::explain,
    translate::{
        ObjectKey,
        policy::{PolicyStatus, ancestors::ObjectStatus, spec::LoadBalancingPolicy},
    },
};

/// How often what has changed is written: numbers of proxies change all the time in a rollout.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many objects are written at a time; the others are next.
const BATCH: usize = 50;
/// How long something that was written, or refused, is let be before it is written again: it comes back by the watch.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often an object is read anew because somebody else has written it meanwhile. After that it is the next round's.
const ATTEMPTS: u32 = 3;

/// Writes the status of policies whenever this replica leads, for as long as it is polled. The replicas' Leases are read over
/// `leases`.
pub async fn write(
    client: Client,
    leases: Client,
    namespace: &str,
    statuses: PolicyStatuses,
    leads: watch::Receiver<bool>,
) {
    let mut writer = Writer::new(client, leases);
    let mut ticks = interval(INTERVAL);
    loop {
        ticks.tick().await;
        if !*leads.borrow() {
            (writer.sent, writer.settled) = (HashMap::new(), None);
            continue;
        }
        let result = writer.round(namespace, &statuses.list(), &leads).await;
        let failure = result.err().map(|error| explain(&error));
        if let Some(reason) = failure.as_ref().filter(|reason| writer.told.as_ref() != Some(*reason)) {
            tracing::warn!("cannot write the status of policies: {reason}");
        }
        writer.told = failure;
    }
}

struct Writer {
    client: Client,
    leases: Client,
    replicas: Replicas,
    /// What has been written and may not have come back yet.
    sent: HashMap<ObjectKey, (ObjectStatus, Instant)>,
    settled: Option<Settled>,
    /// Where among those that are wanted the next round begins.
    turn: usize,
    /// The failure that has been logged.
    told: Option<String>,
}

/// Of what everything that follows is written.
struct Settled {
    statuses: Arc<Vec<PolicyStatus>>,
    reports: Vec<Arc<Report>>,
}

/// What became of an attempt to write a status.
enum Written {
    /// It is there.
    Done,
    /// Somebody else has written the object since it was read.
    Conflict,
    /// There is no such object any more, and the watch says so in a moment.
    Gone,
}

impl Writer {
    fn new(client: Client, leases: Client) -> Self {
        Self { client, leases, replicas: Replicas::default(), sent: HashMap::new(), settled: None, turn: 0, told: None }
    }

    async fn round(
        &mut self,
        namespace: &str,
        statuses: &Arc<Vec<PolicyStatus>>,
        leads: &watch::Receiver<bool>,
    ) -> kube::Result<()> {
        if statuses.is_empty() {
            return Ok(());
        }
        let reports = self.replicas.read(&self.leases, namespace).await?;
        if self.is_settled(statuses, &reports) {
            return Ok(());
        }
        // Whole seconds, as the API server writes times.
        let now = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default());
        self.sent.retain(|_, (_, at)| at.elapsed() < PATIENCE);
        let mut wanted = Vec::new();
        for status in statuses.iter() {
            let counts = counts_of(status, &reports);
            let sent = self.sent.get(&status.object).map(|(sent, _)| sent);
            // On what was sent, though it may have been refused: else conditions would be new, since now, in every round.
            let next = object_status(status, sent.or(status.written.as_deref()), &counts, &now);
            if status.written.as_deref() != Some(&next) && sent != Some(&next) {
                wanted.push((status, counts, next));
            }
        }
        if wanted.is_empty() && self.sent.is_empty() {
            self.settled = Some(Settled { statuses: Arc::clone(statuses), reports });
            return Ok(());
        }
        // In turns: as many as are refused again and again must not keep the others back.
        let first = self.turn.checked_rem(wanted.len()).unwrap_or_default();
        wanted.rotate_left(first);
        self.turn = self.turn.wrapping_add(BATCH);
        for (status, counts, next) in wanted.into_iter().take(BATCH) {
            // Writes may take long; what another one has written since must not be undone.
            if !*leads.borrow() {
                break;
            }
            if self.write(status, &counts, &now).await? {
                self.sent.insert(status.object.clone(), (next, Instant::now()));
            }
        }
        Ok(())
    }

    /// Whether everything that follows from these is written already.
    fn is_settled(&self, statuses: &Arc<Vec<PolicyStatus>>, reports: &[Arc<Report>]) -> bool {
        self.settled.as_ref().is_some_and(|settled| {
            let said = &settled.reports;
            let are_same = said.len() == reports.len() && said.iter().zip(reports).all(|(a, b)| Arc::ptr_eq(a, b));
            Arc::ptr_eq(&settled.statuses, statuses) && are_same
        })
    }

    /// Writes the status of a policy, and tells whether it is to be let be now.
    async fn write(&self, status: &PolicyStatus, counts: &Counts, now: &Time) -> kube::Result<bool> {
        let object = &status.object;
        for _ in 0..ATTEMPTS {
            match self.attempt(status, counts, now).await {
                Ok(Written::Done | Written::Gone) => return Ok(true),
                Ok(Written::Conflict) => {}
                // The API server has something against this one: it is tried again later, and does not keep the others back.
                Err(error @ (kube::Error::Api(_) | kube::Error::SerdeError(_))) => {
                    tracing::warn!("cannot write the status of {object}: {}", explain(&error));
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        tracing::debug!("the status of {object} is being written by somebody else, it is tried again");
        Ok(false)
    }

    /// Reads the object and writes its status, unless somebody else has written it in between.
    async fn attempt(&self, status: &PolicyStatus, counts: &Counts, now: &Time) -> kube::Result<Written> {
        let ObjectKey { namespace, name, .. } = &status.object;
        // By fields: an object that another version of the mesh has written may have a spec that cannot be read here.
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<LoadBalancingPolicy>(&()));
        let Some(found) = api.get_opt(name).await? else { return Ok(Written::Gone) };
        let before: Option<ObjectStatus> = match found.data.get("status") {
            Some(written) => serde_json::from_value(written.clone()).map_err(kube::Error::SerdeError)?,
            None => None,
        };
        let next = object_status(status, before.as_ref(), counts, now);
        if before.as_ref() == Some(&next) {
            return Ok(Written::Done);
        }
        // A field that is not there any more is to be removed, which a merge says with null. With the version that was read, so
        // that it is refused if the object has another one.
        let patch = Patch::Merge(json!({
            "metadata": { "resourceVersion": found.metadata.resource_version },
            "status": {
                "proxies": next.proxies,
                "abortedCandidate": next.aborted_candidate,
                "ancestors": next.ancestors,
            },
        }));
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                events::status_written();
                Ok(Written::Done)
            }
            Err(kube::Error::Api(refused)) if refused.code == 409 => Ok(Written::Conflict),
            Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(Written::Gone),
            Err(error) => Err(error),
        }
    }
}

fn counts_of(status: &PolicyStatus, reports: &[Arc<Report>]) -> Counts {
    let Some(serving) = &status.serving else { return Counts::default() };
    let name = name_of(&status.object);
    let counts = reports.iter().filter_map(|report| report.get(&name));
    sum(&serving.policy.version().to_string(), serving.trial.as_ref(), counts)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        sync::{Mutex, PoisonError},
    };

    use http_body_util::BodyExt;
    use hyper::{Method, Request, Response};
    use kube::client::Body;
    use serde_json::Value;
    use tower::service_fn;

    use super::{super::conditions::CONTROLLER, *};
    use crate::translate::{
        ObjectKind,
        policy::{Condition, Reason, TargetStatus},
    };

    /// An API server that answers what it is told to, one after the other, and remembers what it was asked.
    #[derive(Clone, Default)]
    struct Scripted {
        answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
        asked: Arc<Mutex<Vec<(Method, Value)>>>,
    }

    impl Scripted {
        fn writer(answers: impl IntoIterator<Item = (u16, Value)>) -> (Self, Writer) {
            let server = Self::default();
            server.answers.lock().unwrap().extend(answers);
            let service = service_fn({
                let server = server.clone();
                move |request| server.clone().answer(request)
            });
            let client = Client::new(service, "default");
            (server, Writer::new(client.clone(), client))
        }

        async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let said = serde_json::from_slice(&body).unwrap_or_default();
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((parts.method, said));
            let (code, answer) = self.answers.lock().unwrap().pop_front().expect("a further question");
            Ok(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
        }

        /// What was patched, one after the other.
        fn patches(&self) -> Vec<Value> {
            let asked = self.asked.lock().unwrap();
            asked.iter().filter(|(method, _)| *method == Method::PATCH).map(|(_, said)| said.clone()).collect()
        }
    }

    /// What somebody says of `shop/web`.
    fn said_by(controller: &str) -> Value {
        let ancestor = json!({ "group": "", "kind": "Service", "namespace": "shop", "name": "web" });
        json!({ "ancestorRef": ancestor, "controllerName": controller, "conditions": [] })
    }

    /// The policy `shop/own` as it is read, of which this is said.
    fn read(version: &str, status: &Value) -> (u16, Value) {
        let object = json!({
            "apiVersion": "wasmesh.io/v1alpha1",
            "kind": "LoadBalancingPolicy",
            "metadata": { "namespace": "shop", "name": "own", "resourceVersion": version },
            "spec": { "of": "another version" },
            "status": status,
        });
        (200, object)
    }

    fn refused(code: u16) -> (u16, Value) {
        let status =
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "code": code });
        (code, status)
    }

    /// Lets this be written: that the policy is accepted for `shop/web`.
    async fn write(writer: &Writer) -> bool {
        let good = |reason| Condition { status: true, reason, message: String::new() };
        let (namespace, name) = ("shop".to_owned(), "own".to_owned());
        let target = TargetStatus {
            service: "web".to_owned(),
            port: None,
            accepted: good(Reason::Accepted),
            governs: Vec::new(),
            lost: Default::default(),
        };
        let status = PolicyStatus {
            object: ObjectKey { kind: ObjectKind::LoadBalancingPolicy, namespace, name },
            generation: Some(1),
            invalid: None,
            accepted: good(Reason::Accepted),
            resolved_refs: good(Reason::ResolvedRefs),
            serving: None,
            targets: vec![target],
            candidate: None,
            written: None,
        };
        writer.write(&status, &Counts::default(), &Time(Timestamp::UNIX_EPOCH)).await.unwrap()
    }

    #[tokio::test]
    async fn what_others_write_in_between_stays() {
        let candidate = json!({ "hash": "x", "faults": {}, "proxies": 1 });
        let other = said_by("example.com/other");
        let meanwhile = json!({ "ancestors": [other, said_by(CONTROLLER)], "abortedCandidate": candidate });
        let nothing = json!({ "ancestors": [] });
        let script = [read("1", &nothing), refused(409), read("2", &meanwhile), read("3", &nothing)];
        let (server, writer) = Scripted::writer(script);
        assert!(write(&writer).await);
        let patches = server.patches();
        let versions: Vec<_> = patches.iter().map(|patch| &patch["metadata"]["resourceVersion"]).collect();
        assert_eq!(versions, ["1", "2"]);
        let written = &patches[1]["status"];
        assert_eq!((&written["ancestors"][0], &written["abortedCandidate"]), (&other, &candidate));
        assert_eq!(written["ancestors"].as_array().map(Vec::len), Some(2), "ours is there once");
    }

    #[tokio::test]
    async fn what_is_there_already_is_not_written_again() {
        let (server, writer) = Scripted::writer([read("1", &Value::Null), read("2", &Value::Null)]);
        assert!(write(&writer).await);
        let written = server.patches()[0]["status"].clone();
        let (server, writer) = Scripted::writer([read("2", &written)]);
        assert!(write(&writer).await);
        assert_eq!(server.patches(), [] as [Value; 0]);
    }

    #[tokio::test]
    async fn an_object_that_others_write_all_the_time_does_not_keep_the_others_waiting() {
        let (server, writer) = Scripted::writer((0..ATTEMPTS).flat_map(|_| [read("1", &Value::Null), refused(409)]));
        assert!(!write(&writer).await, "it is the next round's");
        assert_eq!(server.patches().len(), 3);
    }

    #[tokio::test]
    async fn an_object_that_is_gone_or_refused_is_let_be() {
        for script in [vec![refused(404)], vec![read("1", &Value::Null), refused(422)]] {
            let (_, writer) = Scripted::writer(script);
            assert!(write(&writer).await);
        }
    }
}
