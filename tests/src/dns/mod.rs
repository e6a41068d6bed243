//! DNS: a client that says what a test wants, and name servers that answer what a test wants.

mod resolvers;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, SOA},
    },
};

pub use resolvers::{PATIENT, RESOLVERS, Resolvers};

use crate::{PATIENCE, fresh_ip};

/// A client of one server.
#[derive(Debug, Clone, Copy)]
pub struct DnsClient {
    server: SocketAddr,
    edns: Option<u16>,
}

impl DnsClient {
    /// A client without EDNS.
    pub fn of(server: SocketAddr) -> Self {
        Self { server, edns: None }
    }

    /// The same, which takes so many bytes over UDP.
    #[must_use]
    pub fn edns(self, bytes: u16) -> Self {
        Self { edns: Some(bytes), ..self }
    }

    /// Asks over UDP.
    ///
    /// # Panics
    /// When nothing comes, or no answer to that.
    #[track_caller]
    pub fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let question = self.question(name, record_type);
        let answer = self.send(&question.to_vec().expect("a message")).expect("an answer");
        let answer = Message::from_vec(&answer).expect("a message");
        assert_eq!(answer.metadata.id, question.metadata.id, "{name}");
        assert_eq!(answer.queries, question.queries, "{name}");
        answer
    }

    /// Sends these bytes over UDP and returns what comes back.
    ///
    /// # Errors
    /// When nothing does.
    pub fn send(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.send_patiently(bytes, PATIENCE)
    }

    /// The same with so much patience: for what is not to be answered.
    ///
    /// # Errors
    /// When nothing comes back.
    pub fn send_patiently(&self, bytes: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((self.server.ip(), 0))?;
        socket.connect(self.server)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(bytes)?;
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Asks over TCP; several questions on one connection.
    ///
    /// # Panics
    /// When an answer does not come.
    #[track_caller]
    pub fn ask_tcp(&self, questions: &[(&str, RecordType)]) -> Vec<Message> {
        let mut stream = TcpStream::connect(self.server).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let questions: Vec<_> = questions.iter().map(|(name, kind)| self.question(name, *kind)).collect();
        for question in &questions {
            write_framed(&mut stream, &question.to_vec().expect("a message")).expect("a question");
        }
        let answers = questions.iter().map(|question| {
            let answer = Message::from_vec(&read_framed(&mut stream).expect("an answer")).expect("a message");
            assert_eq!(answer.metadata.id, question.metadata.id);
            answer
        });
        answers.collect()
    }

    /// A question as this client puts it.
    pub fn question(&self, name: &str, record_type: RecordType) -> Message {
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
        let mut message = Message::new(NEXT.fetch_add(1, Ordering::Relaxed), MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(full(name), record_type));
        if let Some(bytes) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(bytes);
            message.set_edns(edns);
        }
        message
    }
}

/// The answers of a message as lines, in order: `NAME TTL TYPE DATA`.
pub fn answers(message: &Message) -> Vec<String> {
    let mut lines: Vec<_> = message.answers.iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}

/// The data of the answers, in order.
pub fn data(message: &Message) -> Vec<String> {
    let mut lines: Vec<_> = message.answers.iter().map(|record| record.data.to_string()).collect();
    lines.sort();
    lines
}

/// How a question came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

type Script = dyn Fn(&Message, Over) -> Vec<Vec<u8>> + Send + Sync;

/// A name server that answers by a script, over both transports.
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Over)>>>,
    stopped: Arc<AtomicBool>,
}

impl NameServer {
    /// Answers each question with these messages, over TCP with the first of them.
    ///
    /// # Panics
    /// When no address can be bound.
    pub fn start(script: impl Fn(&Message, Over) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((fresh_ip(), 0)).expect("an address");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")) {
                break (udp, tcp);
            }
        };
        Self::on(udp, tcp, Arc::new(script))
    }

    /// The same at an address of the caller's.
    ///
    /// # Panics
    /// When it cannot be bound.
    #[track_caller]
    pub fn at(address: SocketAddr, script: impl Fn(&Message, Over) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let udp = UdpSocket::bind(address).expect("an address");
        let tcp = TcpListener::bind(address).expect("an address");
        Self::on(udp, tcp, Arc::new(script))
    }

    /// Answers each question well, with records that hold so many seconds: none for another type than A and AAAA, and
    /// NXDOMAIN for names that begin with `no`.
    pub fn ordinary(ttl: u32) -> Self {
        Self::start(move |question, _| vec![ordinary_answer(question, ttl).to_vec().expect("a message")])
    }

    fn on(udp: UdpSocket, tcp: TcpListener, script: Arc<Script>) -> Self {
        let address = udp.local_addr().expect("an address");
        let (asked, stopped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        tcp.set_nonblocking(true).expect("a socket that does not block");
        let server = Self { address, asked: Arc::clone(&asked), stopped: Arc::clone(&stopped) };
        let (by_tcp, asked_tcp, stopped_tcp) = (Arc::clone(&script), Arc::clone(&asked), Arc::clone(&stopped));
        thread::spawn(move || serve_udp(&udp, &*script, &asked, &stopped));
        thread::spawn(move || serve_tcp(&tcp, &*by_tcp, &asked_tcp, &stopped_tcp));
        server
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names that it was asked for, and how.
    pub fn asked(&self) -> Vec<(String, Over)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// The answer of an ordinary server.
pub fn ordinary_answer(question: &Message, ttl: u32) -> Message {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.clone());
    if question.edns.is_some() {
        answer.set_edns(Edns::new());
    }
    let query = &question.queries[0];
    let name = query.name().clone();
    let data = match query.query_type() {
        _ if name.to_ascii().starts_with("no") => {
            answer.metadata.response_code = ResponseCode::NXDomain;
            None
        }
        RecordType::A => Some(RData::A(A([192, 0, 2, 80].into()))),
        RecordType::AAAA => Some(RData::AAAA(AAAA("2001:db8::80".parse().expect("an address")))),
        _ => None,
    };
    match data {
        // Aliases are looked through.
        Some(data) if name.to_ascii().starts_with("alias") => {
            let target = full("target.example");
            answer.add_answer(Record::from_rdata(name, ttl, RData::CNAME(CNAME(target.clone()))));
            answer.add_answer(Record::from_rdata(target, ttl, data));
        }
        Some(data) => drop(answer.add_answer(Record::from_rdata(name, ttl, data))),
        None => {
            let soa = SOA::new(full("ns.example"), full("who.example"), 1, 1, 1, 1, ttl);
            answer.add_authority(Record::from_rdata(full("example"), ttl, RData::SOA(soa)));
        }
    }
    answer
}

fn full(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    name
}

fn serve_udp(socket: &UdpSocket, script: &Script, asked: &Mutex<Vec<(String, Over)>>, stopped: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    while !stopped.load(Ordering::Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        note(asked, &question, Over::Udp);
        for answer in script(&question, Over::Udp) {
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn serve_tcp(listener: &TcpListener, script: &Script, asked: &Mutex<Vec<(String, Over)>>, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let Ok(bytes) = read_framed(&mut stream) else { continue };
        let Ok(question) = Message::from_vec(&bytes) else { continue };
        note(asked, &question, Over::Tcp);
        if let Some(answer) = script(&question, Over::Tcp).first() {
            let _ = write_framed(&mut stream, answer);
        }
    }
}

fn note(asked: &Mutex<Vec<(String, Over)>>, question: &Message, over: Over) {
    let name = question.queries.first().map(|query| query.name().to_ascii()).unwrap_or_default();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push((name, over));
}

fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat())
}
