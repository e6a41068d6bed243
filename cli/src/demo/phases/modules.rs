//! The chapters in which the policies are modules of the user's own.

use std::net::SocketAddr;

use super::{Change, Chapter, Phase, Pods, Spread, phase};
use crate::demo::{
    own::{CANARY_IN_RUST, Candidate, Comes, LEAST_REQUEST_IN_RUST, Own, Program, ROUND_ROBIN_IN_C, SPIN, TRAP},
    protocol::Protocol,
};

/// All of them. To be played after those with the built-in policies: some pods have ended there.
pub(super) fn chapters(pods: &Pods) -> [Chapter; 4] {
    [requests(pods.podinfo), calls(pods.echo), connections(pods.greeter), failures(pods.echo)]
}

/// Phases over those pods of a Service that have not ended in an earlier chapter.
fn chapter(protocol: Protocol, pods: Vec<SocketAddr>, phases: Vec<Phase>) -> Chapter {
    Chapter { protocol, backends: pods.clone(), endpoints: pods, at_work: true, phases }
}

fn requests([one, two, next, _, next_too]: [SocketAddr; 5]) -> Chapter {
    let pods = vec![one, two, next, next_too];
    let canary = Program { module: CANARY_IN_RUST, config: r#"{"canary": "v2"}"# };
    let takes_over = Phase {
        spread: Spread::Testers(vec![next, next_too]),
        ..phase(
            "http-by-rust",
            Change::Own(Own { label: Some("version"), ..Own::of(canary) }),
            pods.clone(),
            "Your module is the policy. A WebAssembly component written in Rust takes over from the built-in\n\
             policy: requests of testers, with x-canary: yes, go to the pods labelled version: v2, all others\n\
             to v1. It fetches nothing and knows no clock: it sees what it has asked for, and chooses.",
        )
    };
    chapter(Protocol::Http, pods, vec![takes_over])
}

fn calls([one, two, _]: [SocketAddr; 3]) -> Chapter {
    let pods = vec![one, two];
    let takes_over = Phase {
        spread: Spread::Even,
        ..phase(
            "grpc-by-c",
            Change::Own(Own::of(Program::of(ROUND_ROBIN_IN_C))),
            pods.clone(),
            "The same for gRPC, with ten kilobytes that were written in C: each pod in turn, call by call, on\n\
             the one connection that the client keeps.",
        )
    };
    chapter(Protocol::Grpc, pods, vec![takes_over])
}

fn connections([one, two, _]: [SocketAddr; 3]) -> Chapter {
    let pods = vec![one, two];
    let takes_over = phase(
        "tcp-by-rust",
        Change::Own(Own::of(Program::of(LEAST_REQUEST_IN_RUST))),
        pods.clone(),
        "And for TCP: a module in Rust is asked for each connection. It compares how many are open to two\n\
         pods that it draws, numbers which the sidecar lends it.",
    );
    chapter(Protocol::Tcp, pods, vec![takes_over])
}

/// Modules that behave for a little longer than the thousand picks by which they are tried before they may serve.
fn failures([one, two, _]: [SocketAddr; 3]) -> Chapter {
    let pods = vec![one, two];
    let spin = Program { module: SPIN, config: r#"{"after": 1100}"# };
    let trap = Program { module: TRAP, config: r#"{"every": 1100}"# };
    let candidate = Some(Candidate { program: trap, abort_on_faults: 2 });
    let phases = vec![
        Phase {
            spread: Spread::Any,
            ..phase(
                "policy-that-hangs",
                Change::Own(Own { comes: Comes::IntoQuarantine, ..Own::of(spin) }),
                pods.clone(),
                "A module that behaves for a while and then never returns. Its instructions are counted: a pick\n\
                 that takes too many is ended and the built-in policy answers in its place; after three such\n\
                 faults the module is left alone for a second, then for two, then for four.",
            )
        },
        Phase {
            spread: Spread::Even,
            ..phase(
                "candidate-that-traps",
                Change::Own(Own { candidate, comes: Comes::BackFromTrial, ..Own::of(Program::of(ROUND_ROBIN_IN_C)) }),
                pods.clone(),
                "The module in C is back, and with it a candidate for its place that crashes now and then. Two\n\
                 faults, and the candidate is taken back: nobody had to watch, and no call was lost.",
            )
        },
    ];
    chapter(Protocol::Grpc, pods, phases)
}
