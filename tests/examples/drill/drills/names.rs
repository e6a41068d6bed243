//! Name servers that are away.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use wasmesh_tests::dns::DnsClient;

use crate::ground::Ground;

/// Where the proxy answers, and whom it asks.
pub(crate) const SERVER: &str = "127.0.0.1:19053";
pub(crate) const OPTIONS: &[&str] = &["--dns-listen=127.0.0.1:19053", "--dns-upstream=127.0.0.1:19054"];
const UPSTREAM: &str = "127.0.0.1:19054";

/// Ten times as many questions as may be under way.
const QUESTIONS: usize = 5_120;

/// The pod's own server is silent, and asked for more than it could bear. What the mesh knows is answered all the while.
pub(crate) fn upstream_dead(ground: &mut Ground<'_>, fault: &mut Instant) {
    let server: SocketAddr = SERVER.parse().expect("an address");
    ground.ask_names(server);
    ground.answers(200);
    // Packets reach it, and nobody reads them.
    let _silent = UdpSocket::bind(UPSTREAM).expect("a socket");
    let client = DnsClient::of(server);
    let socket = UdpSocket::bind((server.ip(), 0)).expect("a socket");
    *fault = Instant::now();
    for number in 0..QUESTIONS {
        let question = client.question(&format!("host-{number}.example.org."), RecordType::A);
        // A full buffer of the kernel drops it: so many are not under way anyhow.
        let _ = socket.send_to(&question.to_vec().expect("a message"), server);
    }
    ground.pass(Duration::from_secs(4));
}
