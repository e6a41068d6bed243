//! What happens in the demo, as data: each phase changes one thing and says who is to serve from then on.

use std::net::SocketAddr;

/// One phase. It lasts from its change, through the change's acknowledgement, until the next phase.
#[derive(Debug)]
pub(super) struct Phase {
    /// In reports.
    pub(super) name: &'static str,
    /// For people: what happens, and why it matters.
    pub(super) story: String,
    /// What it begins with.
    pub(super) change: Change,
    /// Each of these must be chosen once the change is acknowledged, and nobody else may be.
    pub(super) served: Vec<SocketAddr>,
    /// Whether they must get the same number of requests.
    pub(super) even: bool,
}

/// What is done to the mesh.
#[derive(Debug)]
pub(super) enum Change {
    /// The clients begin.
    StartTraffic,
    /// These become the endpoints of the Service.
    Endpoints(Vec<SocketAddr>),
    /// The Service asks for this policy.
    Policy(&'static str),
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

/// The demo with these backends, all of which run from the beginning.
pub(super) fn plan([one, two, leaver, joiner, latecomer]: [SocketAddr; 5]) -> Vec<Phase> {
    let phase = |name, change, served, story| Phase { name, story, change, served, even: false };
    let with_joiner = vec![one, two, joiner];
    let at_last = vec![two, joiner, latecomer];
    vec![
        phase(
            "balanced",
            Change::StartTraffic,
            vec![one, two, leaver],
            "Three backends behind one name. Clients ask their sidecar for http://podinfo.default/,\n\
             and it chooses a backend for every single request: of two, the one with less to do."
                .to_owned(),
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
            even: true,
            ..phase(
                "policy-changed",
                Change::Policy("round-robin"),
                with_joiner.clone(),
                "The Service is annotated wasmesh.io/policy: round-robin. Each in turn from now on: the\n\
                 counts grow even, and no connection was dropped for it."
                    .to_owned(),
            )
        },
        phase(
            "control-plane-down",
            Change::KillControlPlane { meanwhile: at_last.clone() },
            with_joiner,
            "The control plane is killed, and the EndpointSlice changes while it is gone. The sidecar\n\
             goes on with the last state it knows: traffic does not depend on the control plane."
                .to_owned(),
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
    ]
}

#[cfg(test)]
mod tests {
    use super::{Change, plan};

    #[test]
    fn the_story_hangs_together() {
        let backends = std::array::from_fn(|at| ([127, 0, 0, 1], at as u16 + 1).into());
        let phases = plan(backends);
        let mut endpoints = phases[0].served.clone();
        let mut unseen = None;
        for phase in &phases {
            match &phase.change {
                Change::Endpoints(now) => endpoints.clone_from(now),
                Change::KillControlPlane { meanwhile } => unseen = Some(meanwhile.clone()),
                Change::RestartControlPlane => endpoints = unseen.take().unwrap(),
                Change::Crash(dead) => endpoints.retain(|endpoint| endpoint != dead),
                Change::StartTraffic | Change::Policy(_) => {}
            }
            assert_eq!(phase.served, endpoints, "{}", phase.name);
            assert!(phase.story.lines().all(|line| line.len() <= 96), "{}", phase.name);
        }
        assert!(backends.iter().all(|backend| phases.iter().any(|phase| phase.served.contains(backend))));
    }
}
