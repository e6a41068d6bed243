//! Questions from the wire, and answers to it.

use hickory_proto::{
    op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, PTR, SOA, SRV},
    },
};
use wasmesh_core::dns::{self, Data, TTL};

/// Every message begins with as many bytes (RFC 1035, section 4.1.1).
const HEADER: usize = 12;

/// The shortest record: the root's name, type, class, time to live and length.
const SHORTEST_RECORD: usize = 11;

/// What a client of UDP takes that does not say how much (RFC 1035, section 2.3.4).
const PLAIN_UDP: usize = 512;

/// What we say that we take, and never exceed over UDP: it arrives in one piece on any network (DNS Flag Day 2020).
const EDNS_UDP: u16 = 1232;

/// How an answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// Only so much fits.
    Udp,
    /// Everything fits.
    Tcp,
}

/// A question that makes sense.
#[derive(Debug, Clone)]
pub(super) struct Question {
    message: Message,
    query: Query,
}

/// What is no question that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nonsense {
    /// Not to be answered: whoever sent it expects nothing, or cannot be told from a reflection.
    Ignored,
    /// To be answered with this.
    Refused(Vec<u8>),
}

impl Question {
    /// Reads one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Nonsense> {
        let header = Header::of(bytes).ok_or(Nonsense::Ignored)?;
        if header.is_response {
            return Err(Nonsense::Ignored);
        }
        let refuse = |code| Nonsense::Refused(bare(bytes, code));
        if header.op_code != 0 {
            return Err(refuse(ResponseCode::NotImp));
        }
        // Looked at before anything is set aside for what the counts promise.
        if header.counts[..3] != [1, 0, 0] || header.counts[3] > 2 {
            return Err(refuse(ResponseCode::FormErr));
        }
        let message = Message::from_vec(bytes).map_err(|_| refuse(ResponseCode::FormErr))?;
        let query = message.queries.first().cloned().ok_or_else(|| refuse(ResponseCode::FormErr))?;
        let question = Self { message, query };
        if question.message.version() > 0 {
            let mut reply = question.reply(ResponseCode::BADVERS);
            return Err(Nonsense::Refused(encode(&mut reply, PLAIN_UDP)));
        }
        Ok(question)
    }

    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// The name as it was written, with `\` before what is not a letter of a host name.
    pub(super) fn name(&self) -> String {
        self.query.name().to_ascii()
    }

    pub(super) fn is_internet(&self) -> bool {
        self.query.query_class() == DNSClass::IN
    }

    pub(super) fn record_type(&self) -> dns::RecordType {
        match self.query.query_type() {
            RecordType::A => dns::RecordType::A,
            RecordType::AAAA => dns::RecordType::Aaaa,
            RecordType::SRV => dns::RecordType::Srv,
            RecordType::PTR => dns::RecordType::Ptr,
            RecordType::CNAME => dns::RecordType::Cname,
            _ => dns::RecordType::Other,
        }
    }

    /// Whether signatures are wanted.
    pub(super) fn wants_dnssec(&self) -> bool {
        self.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.message.metadata
    }

    /// The same question for another name.
    pub(super) fn about(&self, name: &str) -> Option<Self> {
        let name = fully(name)?;
        let mut next = self.clone();
        next.query.set_name(name);
        next.message.queries = vec![next.query.clone()];
        Some(next)
    }

    /// The question as it is put to a server: with an id of our own, and without what was meant for us alone.
    pub(super) fn for_server(&self, id: u16) -> Message {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.message.metadata.recursion_desired;
        message.metadata.checking_disabled = self.message.metadata.checking_disabled;
        message.metadata.authentic_data = self.message.metadata.authentic_data;
        message.add_query(self.query.clone());
        message.edns = self.edns();
        message
    }

    /// What we say of ourselves to whoever speaks EDNS: a client that does is answered so, and its question put so.
    fn edns(&self) -> Option<Edns> {
        self.message.edns.as_ref()?;
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_UDP).set_dnssec_ok(self.wants_dnssec());
        Some(edns)
    }

    /// An answer without records.
    pub(super) fn reply(&self, code: ResponseCode) -> Message {
        let mut reply = Message::new(0, MessageType::Response, OpCode::Query);
        reply.metadata = Metadata::response_from_request(&self.message.metadata);
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        // As it was written: some resolvers check the case of the letters.
        reply.add_query(self.query.clone());
        reply.edns = self.edns();
        reply
    }

    /// The answer of another server, as an answer of ours.
    pub(super) fn relay(&self, answer: &Message) -> Message {
        let mut reply = self.reply(answer.metadata.response_code);
        reply.metadata.authoritative = answer.metadata.authoritative;
        reply.metadata.authentic_data = answer.metadata.authentic_data;
        reply.metadata.recursion_available = answer.metadata.recursion_available;
        reply.metadata.truncation = answer.metadata.truncation;
        reply.answers.clone_from(&answer.answers);
        reply.authorities.clone_from(&answer.authorities);
        reply.additionals.clone_from(&answer.additionals);
        if let (Some(edns), Some(theirs)) = (&mut reply.edns, &answer.edns) {
            // Such as an extended error, which says why.
            *edns.options_mut() = theirs.options().clone();
        }
        reply
    }

    /// The answer as bytes, of which as many records as fit.
    pub(super) fn encode(&self, mut reply: Message, transport: Transport) -> Vec<u8> {
        let limit = match transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => self
                .message
                .edns
                .as_ref()
                .map_or(PLAIN_UDP, |edns| usize::from(edns.max_payload().min(EDNS_UDP)).max(PLAIN_UDP)),
        };
        encode(&mut reply, limit)
    }
}

/// Whether an answer is one to this question.
pub(super) fn answers(answer: &Message, asked: &Message) -> bool {
    let same = |(theirs, ours): (&Query, &Query)| {
        theirs.query_type() == ours.query_type()
            && theirs.query_class() == ours.query_class()
            && theirs.name().to_lowercase() == ours.name().to_lowercase()
    };
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == asked.metadata.id
        && answer.queries.len() == asked.queries.len()
        && answer.queries.iter().zip(&asked.queries).all(same)
}

/// Reads the answer of a server. What promises more than it holds is not looked at.
pub(super) fn parse_answer(bytes: &[u8]) -> Option<Message> {
    let header = Header::of(bytes)?;
    let records: usize = header.counts[1..].iter().map(|count| usize::from(*count)).sum();
    if header.counts[0] > 1 || HEADER + records * SHORTEST_RECORD > bytes.len() {
        return None;
    }
    Message::from_vec(bytes).ok()
}

/// The bytes of a message; empty for one that cannot be written, which none of ours is.
pub(super) fn bytes_of(message: &Message) -> Vec<u8> {
    message.to_vec().unwrap_or_default()
}

/// Records of the mesh. Names that cannot be written are left out; the API server lets none in.
pub(super) fn records(records: &[dns::Record]) -> impl Iterator<Item = Record> {
    records.iter().filter_map(|record| {
        let data = match &record.data {
            Data::Address(std::net::IpAddr::V4(ip)) => RData::A(A(*ip)),
            Data::Address(std::net::IpAddr::V6(ip)) => RData::AAAA(AAAA(*ip)),
            Data::Alias(target) => RData::CNAME(CNAME(fully(target)?)),
            Data::Service { weight, port, target } => RData::SRV(SRV::new(0, *weight, *port, fully(target)?)),
            Data::Pointer(target) => RData::PTR(PTR(fully(target)?)),
        };
        Some(Record::from_rdata(fully(&record.name)?, TTL, data))
    })
}

/// What says that there is nothing, and for how long that may be believed (RFC 2308). The numbers are CoreDNS's.
pub(super) fn start_of_authority(cluster_domain: &str, serial: u32) -> Option<Record> {
    let server = fully(&format!("ns.dns.{cluster_domain}"))?;
    let keeper = fully(&format!("hostmaster.{cluster_domain}"))?;
    let soa = SOA::new(server, keeper, serial, 7200, 1800, 86_400, TTL);
    Some(Record::from_rdata(fully(cluster_domain)?, TTL, RData::SOA(soa)))
}

fn fully(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Leaves records out until it fits, and says so: some resolvers do with what they got.
fn encode(reply: &mut Message, limit: usize) -> Vec<u8> {
    loop {
        let bytes = bytes_of(reply);
        if bytes.len() <= limit {
            return bytes;
        }
        reply.metadata.truncation = true;
        if !reply.additionals.is_empty() {
            reply.additionals.clear();
        } else if !reply.authorities.is_empty() {
            reply.authorities.clear();
        } else if !reply.answers.is_empty() {
            let fitting = reply.answers.len() * limit / bytes.len();
            reply.answers.truncate(fitting.min(reply.answers.len() - 1));
        } else {
            // A question that alone is too long for its own answer.
            return bytes.into_iter().take(limit).collect();
        }
    }
}

/// An answer to what could not be read: its first bytes and a code.
fn bare(bytes: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = Message::new(0, MessageType::Response, OpCode::Query);
    let header = Header::of(bytes).unwrap_or_default();
    reply.metadata.id = header.id;
    reply.metadata.op_code = OpCode::from_u8(header.op_code);
    reply.metadata.recursion_desired = header.recursion_desired;
    reply.metadata.response_code = code;
    bytes_of(&reply)
}

/// As much of a message's beginning as is needed to decide whether to read on.
#[derive(Debug, Default)]
struct Header {
    id: u16,
    is_response: bool,
    op_code: u8,
    recursion_desired: bool,
    counts: [u16; 4],
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Some(Self {
            id: word(0),
            is_response: header[2] & 0x80 != 0,
            op_code: (header[2] >> 3) & 0xf,
            recursion_desired: header[2] & 1 != 0,
            counts: [word(4), word(6), word(8), word(10)],
        })
    }
}
