//! Asks the pod's own name servers.
//!
//! Each question goes out on a socket of its own, so that its port is as hard to guess as its id, and what comes back must be from
//! whom was asked, with that id, about that question (RFC 5452). Servers are asked in order; one that does not answer is passed over
//! for a while. Together it takes less time than the five seconds after which resolvers ask again.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::op::{Message, ResponseCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout, timeout_at},
};

use super::{
    events,
    message::{Question, answers, bytes_of, parse_answer},
    port::Ports,
    servers::NameServers,
};

/// How long each server has in the first round, and in the second.
const ROUNDS: [Duration; 2] = [Duration::from_millis(1500), Duration::from_secs(3)];

/// How long a question may take in all.
const IN_ALL: Duration = Duration::from_millis(4500);

/// How long a server that did not answer is asked last.
const PASSED_OVER: Duration = Duration::from_secs(10);

/// The largest answer over UDP that is read; more was not offered.
const MAX_UDP: usize = 4096;

/// How many answers that fit no question one question stands: somebody is guessing.
const MAX_STRAYS: usize = 32;

pub(super) struct Upstream {
    servers: Vec<SocketAddr>,
    ports: Ports,
    /// Until when each of them is asked last.
    silent_until: RefCell<Vec<Option<Instant>>>,
}

impl Upstream {
    pub(super) fn new(servers: &NameServers) -> Self {
        let servers = servers.all().to_vec();
        let silent_until = RefCell::new(vec![None; servers.len()]);
        Self { servers, ports: Ports::of_system(), silent_until }
    }

    /// The whole answer of the first server that has one; `None` when there is none in time.
    pub(super) async fn ask(&self, question: &Question) -> Option<Message> {
        let deadline = Instant::now() + IN_ALL;
        let mut poor = None;
        for patience in ROUNDS {
            for number in self.order() {
                let until = deadline.min(Instant::now() + patience);
                if until <= Instant::now() {
                    break;
                }
                let server = self.servers[number];
                match timeout_at(until, self.exchange(server, question)).await {
                    Ok(Ok(answer)) => {
                        self.silent_until.borrow_mut()[number] = None;
                        // Another server may know better; if none does, the client gets what this one says.
                        let code = answer.metadata.response_code;
                        if !matches!(code, ResponseCode::ServFail | ResponseCode::Refused) {
                            return Some(answer);
                        }
                        poor = Some(answer);
                    }
                    Ok(Err(error)) => self.failed(number, "error", &error),
                    Err(_) => self.failed(number, "timeout", &"no answer in time"),
                }
            }
            if poor.is_some() {
                break;
            }
        }
        poor
    }

    /// Servers by number; those that were silent a moment ago come last.
    fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let silent = self.silent_until.borrow();
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(|number| silent[*number].is_some_and(|until| until > now));
        order
    }

    fn failed(&self, number: usize, reason: &'static str, error: &dyn std::fmt::Display) {
        self.silent_until.borrow_mut()[number] = Some(Instant::now() + PASSED_OVER);
        events::upstream_failed(self.servers[number], reason, error);
    }

    /// Over UDP, and what does not fit there over TCP.
    async fn exchange(&self, server: SocketAddr, question: &Question) -> io::Result<Message> {
        let asked = question.for_server(fastrand::u16(..));
        let any = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let answer = over_udp(self.ports.bind(any).await?, server, &asked).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        // A server that has no TCP is no reason to have nothing.
        Ok(over_tcp(server, &asked).await.unwrap_or(answer))
    }
}

async fn over_udp(socket: UdpSocket, server: SocketAddr, asked: &Message) -> io::Result<Message> {
    // The kernel lets nobody else in, and tells when nobody is there.
    socket.connect(server).await?;
    socket.send(&bytes_of(asked)).await?;
    let mut buffer = vec![0; MAX_UDP];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut buffer).await?;
        match parse_answer(&buffer[..length]).filter(|answer| answers(answer, asked)) {
            Some(answer) => return Ok(answer),
            None => events::stray_answer(server),
        }
    }
    Err(io::Error::other("answers to what was not asked"))
}

async fn over_tcp(server: SocketAddr, asked: &Message) -> io::Result<Message> {
    let mut stream = timeout(ROUNDS[0], TcpStream::connect(server)).await??;
    let bytes = bytes_of(asked);
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    let fits = |answer: &Message| answers(answer, asked);
    parse_answer(&answer).filter(fits).ok_or_else(|| io::Error::other("an answer to what was not asked"))
}
