//! The DNS of clusters, beside the test.

use std::{
    net::{SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use hickory_proto::{op::ResponseCode, rr::RecordType};

use super::{ApiServer, assets::asset, ground::Daemon};
use crate::{dns::DnsClient, fresh_ip, until};

/// How long each look at one that starts may take.
const LOOK: Duration = Duration::from_millis(300);

/// A CoreDNS that answers for a cluster as they ship it, and has everything else answered by this server.
pub struct CoreDns {
    address: SocketAddr,
    _daemon: Daemon,
}

impl CoreDns {
    /// Starts one and waits until it knows the cluster.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn start(server: &ApiServer, others: SocketAddr) -> Self {
        let ip = fresh_ip();
        // Nobody else uses the address, so what is free is free a moment later.
        let port = UdpSocket::bind((ip, 0)).and_then(|socket| socket.local_addr()).expect("an address").port();
        Self::at((ip, port).into(), server, others)
    }

    /// The same at an address of the caller's.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[track_caller]
    pub fn at(address: SocketAddr, server: &ApiServer, others: SocketAddr) -> Self {
        let (ip, port) = (address.ip(), address.port());
        let corefile = format!(
            ".:{port} {{\n  bind {ip}\n  kubernetes cluster.local in-addr.arpa ip6.arpa {{\n    kubeconfig {}\n    ttl 5\n    \
             fallthrough in-addr.arpa ip6.arpa\n  }}\n  forward . {others}\n}}\n",
            server.kubeconfig().display()
        );
        let ground = server.ground();
        let corefile = ground.write(&format!("Corefile-{ip}-{port}"), &corefile);
        let mut command = Command::new(asset("coredns"));
        let mut daemon = ground.start(&format!("coredns-{ip}-{port}"), command.arg("-conf").arg(corefile));
        let client = DnsClient::of(address);
        until("CoreDNS knows the cluster", || {
            daemon.must_run();
            let question = client.question("kubernetes.default.svc.cluster.local.", RecordType::A);
            let answer = client.send_patiently(&question.to_vec().expect("a message"), LOOK).ok();
            let answer = answer.and_then(|bytes| hickory_proto::op::Message::from_vec(&bytes).ok());
            answer.is_some_and(|it| it.metadata.response_code == ResponseCode::NoError && !it.answers.is_empty())
        });
        Self { address, _daemon: daemon }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
