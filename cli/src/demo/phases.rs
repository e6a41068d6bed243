//! What happens in the demo, as data: each phase changes one thing and says who is to serve from then on.

mod modules;

use std::net::SocketAddr;

use super::{own::Own, protocol::Protocol};

/// The pods of the Services that get traffic. All run from the beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pods {
    pub(super) podinfo: [SocketAddr; 5],
    pub(super) echo: [SocketAddr; 3],
    pub(super) greeter: [SocketAddr; 3],
}

/// Phases with the same clients, which ask one Service.
#[derive(Debug)]
pub(super) struct Chapter {
    /// What the clients speak.
    pub(super) protocol: Protocol,
    /// All backends that play a part.
    pub(super) backends: Vec<SocketAddr>,
    /// The endpoints of the Service before anything happens.
    pub(super) endpoints: Vec<SocketAddr>,
    /// The clients are at work already when the first phase begins; else it begins with them.
    pub(super) at_work: bool,
    /// In this order.
    pub(super) phases: Vec<Phase>,
}

/// One phase. It lasts from its change, through the change's acknowledgement, until the next phase.
#[derive(Debug)]
pub(super) struct Phase {
    /// In reports.
    pub(super) name: &'static str,
    /// For people: what happens, and why it matters.
    pub(super) story: String,
    /// What it begins with.
    pub(super) change: Change,
    /// These may be chosen once the change is acknowledged, and nobody else.
    pub(super) served: Vec<SocketAddr>,
    /// How requests must be spread over them.
    pub(super) spread: Spread,
}

/// Who of those that are served must get what.
#[derive(Debug, Clone)]
pub(super) enum Spread {
    /// Each something.
    Each,
    /// Each the same.
    Even,
    /// Each something: these the requests of testers and no others, the others the rest.
    Testers(Vec<SocketAddr>),
    /// Whatever the policy likes.
    Any,
}

/// What is done to the mesh.
#[derive(Debug)]
pub(super) enum Change {
    /// The clients begin.
    StartTraffic {
        /// It is an endpoint, and yet nothing listens there.
        dead: Option<SocketAddr>,
    },
    /// These become the endpoints of the Service.
    Endpoints(Vec<SocketAddr>),
    /// These become the endpoints of the Service, and once that is known a backend ends as it should.
    Leave {
        /// Who ends.
        leaver: SocketAddr,
        /// The endpoints without it.
        others: Vec<SocketAddr>,
    },
    /// The Service asks for this policy.
    Policy(&'static str),
    /// A policy of the user's own is declared for the Service, in place of the one before.
    Own(Own),
    /// The control plane is killed, and then these become the endpoints.
    KillControlPlane {
        /// Nobody is there to tell the sidecar of them.
        meanwhile: Vec<SocketAddr>,
    },
    /// The control plane comes back.
    RestartControlPlane,
    /// A backend dies without a word.
    Crash(SocketAddr),
}

/// The whole demo.
pub(super) fn plan(pods: &Pods) -> Vec<Chapter> {
    let built_in = [requests(pods.podinfo), calls(pods.echo), connections(pods.greeter)];
    built_in.into_iter().chain(modules::chapters(pods)).collect()
}

fn phase(name: &'static str, change: Change, served: Vec<SocketAddr>, story: impl Into<String>) -> Phase {
    Phase { name, story: story.into(), change, served, spread: Spread::Each }
}

fn requests(backends: [SocketAddr; 5]) -> Chapter {
    let [one, two, leaver, joiner, latecomer] = backends;
    let with_joiner = vec![one, two, joiner];
    let at_last = vec![two, joiner, latecomer];
    let phases = vec![
        phase(
            "balanced",
            Change::StartTraffic { dead: None },
            vec![one, two, leaver],
            "Three backends behind one name. Clients ask their sidecar for http://podinfo.default/,\n\
             and it chooses a backend for every single request: of two, the one with less to do.",
        ),
        phase(
            "endpoint-removed",
            Change::Endpoints(vec![one, two]),
            vec![one, two],
            format!(
                "{} leaves the EndpointSlice, as in a scale-down. It would still answer; but from the\n\
                 moment the sidecar has acknowledged the change, it gets nothing more.",
                leaver.ip()
            ),
        ),
        phase(
            "endpoint-added",
            Change::Endpoints(with_joiner.clone()),
            with_joiner.clone(),
            format!(
                "{} joins. Only this one endpoint travels to the sidecar; connections to the others\n\
                 stay open, and it takes its share at once.",
                joiner.ip()
            ),
        ),
        Phase {
            spread: Spread::Even,
            ..phase(
                "policy-changed",
                Change::Policy("round-robin"),
                with_joiner.clone(),
                "The Service is annotated wasmesh.io/policy: round-robin. Each in turn from now on: the\n\
                 counts grow even, and no connection was dropped for it.",
            )
        },
        phase(
            "control-plane-down",
            Change::KillControlPlane { meanwhile: at_last.clone() },
            with_joiner,
            "The control plane is killed, and the EndpointSlice changes while it is gone. The sidecar\n\
             goes on with the last state it knows: traffic does not depend on the control plane.",
        ),
        phase(
            "control-plane-back",
            Change::RestartControlPlane,
            at_last,
            format!(
                "It is back. The sidecar finds it by itself and gets what differs, no more:\n\
                 {} is out, {} is in.",
                one.ip(),
                latecomer.ip()
            ),
        ),
        phase(
            "backend-crashed",
            Change::Crash(joiner),
            vec![two, latecomer],
            format!(
                "{} dies in mid-traffic, and nobody has told the mesh. What it was working on and what\n\
                 it would have got next is sent to another backend: no client sees an error.",
                joiner.ip()
            ),
        ),
    ];
    Chapter {
        protocol: Protocol::Http,
        backends: backends.into(),
        endpoints: vec![one, two, leaver],
        at_work: false,
        phases,
    }
}

fn calls(backends: [SocketAddr; 3]) -> Chapter {
    let [one, two, leaver] = backends;
    let phases = vec![
        phase(
            "grpc",
            Change::StartTraffic { dead: None },
            backends.into(),
            "gRPC: all calls of a client run on one connection, many at a time. kube-proxy picks a backend\n\
             for the connection, and the others idle; the sidecar picks one for every call.",
        ),
        phase(
            "grpc-backend-leaves",
            Change::Leave { leaver, others: vec![one, two] },
            vec![one, two],
            format!(
                "{} leaves as in a rollout: out of the EndpointSlice, then it says GOAWAY and finishes\n\
                 what it has begun. The client keeps its one connection and sees no error.",
                leaver.ip()
            ),
        ),
    ];
    Chapter { protocol: Protocol::Grpc, backends: backends.into(), endpoints: backends.into(), at_work: false, phases }
}

fn connections(backends: [SocketAddr; 3]) -> Chapter {
    let [one, two, dead] = backends;
    let phases = vec![phase(
        "tcp",
        Change::StartTraffic { dead: Some(dead) },
        vec![one, two],
        format!(
            "TCP whose servers speak first, and nobody declared what is spoken here: the sidecar finds\n\
             out by itself, and balances each connection. {} is an endpoint and\n\
             refuses them all; no client notices.",
            dead.ip()
        ),
    )];
    Chapter { protocol: Protocol::Tcp, backends: backends.into(), endpoints: backends.into(), at_work: false, phases }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::SocketAddr};

    use super::{Change, Pods, plan};

    fn pods<const N: usize>(group: u8) -> [SocketAddr; N] {
        std::array::from_fn(|at| ([127, 0, group, at as u8 + 1], 1).into())
    }

    #[test]
    fn the_story_hangs_together() {
        let chapters = plan(&Pods { podinfo: pods(1), echo: pods(2), greeter: pods(3) });
        let (mut names, mut gone) = (HashSet::new(), HashSet::new());
        for chapter in &chapters {
            let mut endpoints = chapter.endpoints.clone();
            let mut unseen = None;
            let mut refusing = None;
            for (at, phase) in chapter.phases.iter().enumerate() {
                let starts = matches!(phase.change, Change::StartTraffic { .. });
                assert_eq!(at == 0 && !chapter.at_work, starts, "{}", phase.name);
                match &phase.change {
                    Change::StartTraffic { dead: Some(ended) }
                    | Change::Leave { leaver: ended, .. }
                    | Change::Crash(ended) => gone.insert(*ended),
                    _ => false,
                };
                match &phase.change {
                    Change::StartTraffic { dead } => refusing = *dead,
                    Change::Endpoints(now) => endpoints.clone_from(now),
                    Change::Leave { leaver, others } => {
                        endpoints.retain(|endpoint| endpoint != leaver);
                        assert_eq!(&endpoints, others);
                    }
                    Change::KillControlPlane { meanwhile } => unseen = Some(meanwhile.clone()),
                    Change::RestartControlPlane => endpoints = unseen.take().unwrap(),
                    Change::Crash(dead) => endpoints.retain(|endpoint| endpoint != dead),
                    Change::Policy(_) | Change::Own(_) => {}
                }
                endpoints.retain(|endpoint| Some(*endpoint) != refusing);
                assert_eq!(phase.served, endpoints, "{}", phase.name);
                assert!(phase.story.lines().all(|line| line.len() <= 96), "{}", phase.name);
                assert!(names.insert(phase.name), "{} twice", phase.name);
            }
            assert!(
                !chapter.at_work || chapter.endpoints.iter().all(|pod| !gone.contains(pod)),
                "{:?}",
                chapter.protocol
            );
            let is_served = |backend| chapter.phases.iter().any(|phase| phase.served.contains(backend));
            assert!(chapter.backends.iter().all(|backend| is_served(backend) || refusing == Some(*backend)));
        }
    }
}
