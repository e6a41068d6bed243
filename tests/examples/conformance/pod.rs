//! A pod: what it can be asked, and what it sees of the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use wasmesh_tests::{Connection, PATIENCE, netns::Netns, until};

use crate::{
    backends::{self, Nginx},
    family::Family,
    node::Node,
};

/// How long a client waits for a connection that may come to nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a refusal may take: less than the second by which an ICMP message delays IPv6.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Options of curl's.
pub(crate) const CURL: &[&str] = &["-q", "-sS", "--fail", "--max-time", "30"];

/// A pod on a node.
pub(crate) struct Pod {
    pub(crate) name: &'static str,
    pub(crate) netns: Netns,
    ips: [IpAddr; 2],
    _nginx: Nginx,
}

/// Who has answered, as itself, and whom it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) who: String,
    pub(crate) peer: IpAddr,
    pub(crate) local: SocketAddr,
}

/// A connection that stays.
pub(crate) struct Stay(Connection);

impl Stay {
    /// Whether it still carries something there and back.
    #[track_caller]
    pub(crate) fn assert_lives(&mut self, when: &str) {
        let answer = self.0.send("still there?\n").and_then(|()| self.0.line());
        assert_eq!(answer.ok().as_deref(), Some("still there?"), "an open connection {when}");
    }
}

impl Pod {
    /// A pod with all backends and no sidecar.
    pub(crate) fn on(node: &Node, name: &'static str, number: u8) -> Self {
        let netns = Netns::default();
        node.plug(&netns, number);
        netns.separate_families();
        backends::tell(&netns, name);
        let nginx = Nginx::start(&netns, name);
        Self { name, netns, ips: Family::BOTH.map(|family| node.pod(family, number)), _nginx: nginx }
    }

    pub(crate) fn ip(&self, family: Family) -> IpAddr {
        self.ips[usize::from(family == Family::V6)]
    }

    /// Connects to a teller. The second is a connection that stays.
    pub(crate) fn dial(&self, address: impl Into<SocketAddr>) -> io::Result<(Told, Stay)> {
        let address = address.into();
        let stream = self.netns.enter(|| TcpStream::connect_timeout(&address, CONNECT))?;
        let mut connection = Connection::from_stream(stream)?;
        let line = connection.line()?;
        let told = parse(&line).ok_or_else(|| io::Error::other(format!("no teller says {line:?}")))?;
        Ok((told, Stay(connection)))
    }

    /// What a teller says.
    #[track_caller]
    pub(crate) fn told(&self, address: impl Into<SocketAddr>) -> Told {
        let address = address.into();
        self.dial(address).unwrap_or_else(|error| panic!("{} cannot reach {address}: {error}", self.name)).0
    }

    /// Who answers.
    #[track_caller]
    pub(crate) fn who(&self, address: impl Into<SocketAddr>) -> String {
        self.told(address).who
    }

    /// Opens a connection to this pod that stays.
    #[track_caller]
    pub(crate) fn stay(&self, address: impl Into<SocketAddr>, to: &Self) -> Stay {
        let address = address.into();
        let (told, stay) =
            self.dial(address).unwrap_or_else(|error| panic!("{} cannot reach {address}: {error}", self.name));
        assert_eq!(told.who, to.name, "who answers {} at {address}", self.name);
        stay
    }

    /// Who answers how often.
    #[track_caller]
    pub(crate) fn tally(&self, address: impl Into<SocketAddr>, times: usize) -> BTreeMap<String, usize> {
        let address = address.into();
        let mut tally = BTreeMap::new();
        (0..times).for_each(|_| *tally.entry(self.who(address)).or_default() += 1);
        tally
    }

    /// Exactly these answer, of forty connections.
    #[track_caller]
    pub(crate) fn assert_reaches(&self, address: impl Into<SocketAddr>, expected: &[&Self], what: &str) {
        let found = self.tally(address, 40);
        let names: BTreeSet<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, expected.iter().map(|pod| pod.name).collect(), "{what}, from {}: {found:?}", self.name);
    }

    /// connect() fails with ECONNREFUSED and at once, from when the sidecars have told each other so.
    #[track_caller]
    pub(crate) fn assert_refused(&self, address: impl Into<SocketAddr>) {
        let address = address.into();
        let is_refused = || {
            let connected = self.netns.enter(|| TcpStream::connect_timeout(&address, AT_ONCE));
            connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        until(&format!("connect() of {} to {address} is refused", self.name), is_refused);
        assert!((0..20).all(|_| is_refused()), "connect() of {} to {address} is refused only at times", self.name);
    }

    /// What a program prints.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.netns.command(program);
        let output = command.args(arguments).env_remove("http_proxy").output().expect("a program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {program} {}: {said}", self.name, arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// What curl gets.
    #[track_caller]
    pub(crate) fn curl(&self, arguments: &[&str]) -> String {
        self.run("curl", &[CURL, arguments].concat())
    }

    /// The code of the answer that dig gets, and what the records say.
    #[track_caller]
    pub(crate) fn dig(&self, arguments: &[&str]) -> (String, BTreeSet<String>) {
        let quiet = ["+noall", "+comments", "+answer", "+time=10", "+tries=1"];
        let said = self.run("dig", &[&quiet, arguments].concat());
        let code = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
        let records = said.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
        // NAME TTL CLASS TYPE DATA
        let data = records.map(|line| line.split_whitespace().skip(4).collect::<Vec<_>>().join(" "));
        (code.to_owned(), data.collect())
    }

    /// Who answers a datagram.
    #[track_caller]
    pub(crate) fn who_by_udp(&self, address: impl Into<SocketAddr>) -> String {
        let address = address.into();
        let any = if address.is_ipv4() { Family::V4 } else { Family::V6 }.any();
        let asked = self.netns.enter(|| {
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(address)?;
            socket.send(b"who?")?;
            let mut bytes = [0; 64];
            let length = socket.recv(&mut bytes)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
        });
        asked.unwrap_or_else(|error| panic!("{} gets no datagram from {address}: {error}", self.name))
    }
}

fn parse(line: &str) -> Option<Told> {
    let mut words = line.split(' ');
    let (who, peer, local) = (words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Told { who, peer, local })
}
