//! Names of the mesh, asked for over UDP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::Message,
    rr::{RData, RecordType},
};
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};
use wasmesh_tests::dns::DnsClient;

use super::patiently;
use crate::ledger::Ledger;

/// After how long a resolver asks again: datagrams may be lost anywhere.
const AGAIN: Duration = Duration::from_secs(2);

/// Asks for this name over and over; the answer must be this address.
pub(crate) async fn ask(server: SocketAddr, name: &str, address: Ipv4Addr, pause: Duration, ledger: &Ledger) {
    while let Some(id) = ledger.begin() {
        match patiently("DNS", exchange(server, name, address)).await {
            Ok(()) => ledger.done(id),
            Err(words) => ledger.failed(id, words),
        }
        sleep(pause).await;
    }
}

async fn exchange(server: SocketAddr, name: &str, address: Ipv4Addr) -> Result<(), String> {
    let question = DnsClient::of(server).question(name, RecordType::A);
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind((server.ip(), 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let mut answer = vec![0; 4096];
    let mut length = None;
    while length.is_none() {
        socket.send(&bytes).await.map_err(failed)?;
        length = timeout(AGAIN, socket.recv(&mut answer)).await.ok().transpose().map_err(failed)?;
    }
    let length = length.unwrap_or(0);
    let answer = Message::from_vec(&answer[..length]).map_err(|error| error.to_string())?;
    let is_it = |data: &RData| matches!(data, RData::A(found) if found.0 == address);
    match answer.answers.iter().any(|record| is_it(&record.data)) {
        true => Ok(()),
        false => Err(format!("{} without the address", answer.metadata.response_code)),
    }
}
