//! Answers from what a proxy holds.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    Data, Record, RecordType, Zone,
    hostname::label_of,
    question::{Part, Subject},
};
use crate::{
    endpoint::{Endpoint, EndpointSet},
    name::ServiceName,
    service::{Family, ServiceKind, ServiceSpec, Transport},
    table::{Held, Table},
};

/// How many aliases are followed; as many as CoreDNS does.
const MAX_ALIASES: usize = 10;

/// What the mesh has to say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These records.
    Records(Records),
    /// The name exists, but has no records of that type.
    NoData,
    /// The endpoints of this Service must be known first.
    NeedsEndpoints(ServiceName),
    /// Nothing is known of the name: whoever else knows names is to be asked.
    Unknown,
}

/// Records that answer a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Records {
    /// What was asked for, aliases that lead there first.
    pub answers: Vec<Record>,
    /// Addresses of the names in the answers.
    pub additional: Vec<Record>,
    /// A name outside of the mesh that the last alias leads to: its records complete the answer.
    pub continues_at: Option<String>,
}

impl Zone {
    /// Answers a question for `name`, from what is held.
    pub fn resolve(&self, table: &Table, name: &str, record_type: RecordType) -> Answer {
        let mut records = Records::default();
        // Owner names are given back as they were asked for: that is how a resolver knows the answer again.
        let mut name = name.strip_suffix('.').unwrap_or(name).to_owned();
        for _ in 0..=MAX_ALIASES {
            let target = match self.resolve_one(table, &name, record_type) {
                Step::Records(answers, additional) => {
                    records.answers.extend(answers);
                    records.additional = additional;
                    return Answer::Records(records);
                }
                Step::Alias(target) => target,
                Step::End(answer) if records.answers.is_empty() => return answer,
                // An alias of what does not exist, or has nothing of that type, is still an alias.
                Step::End(needs @ Answer::NeedsEndpoints(_)) => return needs,
                Step::End(Answer::Unknown) => {
                    records.continues_at = Some(name);
                    return Answer::Records(records);
                }
                Step::End(_) => return Answer::Records(records),
            };
            let alias = Record { name: name.clone(), data: Data::Alias(target.clone()) };
            let is_loop = records.answers.iter().any(|seen| seen.name.eq_ignore_ascii_case(&target))
                || target.eq_ignore_ascii_case(&name);
            records.answers.push(alias);
            if record_type == RecordType::Cname || is_loop {
                return Answer::Records(records);
            }
            name = target;
        }
        Answer::Records(records)
    }

    fn resolve_one(&self, table: &Table, name: &str, record_type: RecordType) -> Step {
        let (service, part) = match self.subject(name) {
            Subject::Service(service, part) => (service, part),
            Subject::AllServices => return Step::End(Answer::NoData),
            Subject::Namespace(namespace) => {
                let exists = table.iter().any(|(service, _)| service.namespace() == namespace);
                return Step::End(if exists { Answer::NoData } else { Answer::Unknown });
            }
            Subject::Address(address) => return self.names_of(table, name, address, record_type),
            Subject::Foreign => return Step::End(Answer::Unknown),
        };
        let Some(held) = table.get(&service) else { return Step::End(Answer::Unknown) };
        let spec = &held.entry.value.spec;
        match (&spec.kind, &part) {
            (ServiceKind::ExternalName { target }, Part::Whole) => {
                // An address is not a name; CoreDNS does not know such a Service either.
                let target = target.strip_suffix('.').unwrap_or(target);
                match target.parse::<IpAddr>() {
                    Ok(_) => Step::End(Answer::Unknown),
                    Err(_) => Step::Alias(target.to_ascii_lowercase()),
                }
            }
            (ServiceKind::ExternalName { .. }, _) => Step::End(Answer::Unknown),
            (ServiceKind::ClusterIp { .. }, Part::Whole | Part::Port { .. }) => {
                self.project(name, record_type, self.virtual_places(spec, &part))
            }
            (ServiceKind::ClusterIp { .. }, Part::Host(_)) | (ServiceKind::Headless, _) => match &held.endpoints {
                Some(endpoints) => self.project(name, record_type, self.pods(spec, endpoints, &part)),
                None => Step::End(Answer::NeedsEndpoints(service)),
            },
        }
    }

    fn virtual_places(&self, spec: &ServiceSpec, part: &Part) -> Vec<Place> {
        let ports = spec.ports.iter().filter(|port| part.has_port(&port.name, port.transport));
        let name = self.name_of(&spec.name);
        let places = ports.flat_map(|port| spec.vips().iter().map(|vip| SocketAddr::new(*vip, port.port)));
        places.map(|address| Place { address, name: name.clone() }).collect()
    }

    fn pods(&self, spec: &ServiceSpec, endpoints: &EndpointSet, part: &Part) -> Vec<Place> {
        let transport =
            |name: &str| spec.ports.iter().find(|port| port.name == name).map_or(Transport::Tcp, |port| port.transport);
        let is_meant = |endpoint: &&Endpoint| match part {
            Part::Host(host) => label_of(endpoint) == *host,
            Part::Whole | Part::Port { .. } => part.has_port(&endpoint.port, transport(&endpoint.port)),
        };
        let service = self.name_of(&spec.name);
        let ready = endpoints.iter().map(AsRef::as_ref).filter(|endpoint: &&Endpoint| endpoint.conditions.ready);
        let place = |endpoint: &Endpoint| Place {
            address: endpoint.address,
            name: format!("{}.{service}", label_of(endpoint)),
        };
        ready.filter(is_meant).map(place).collect()
    }

    /// What of these places is asked for. Without any the name means nothing, as in CoreDNS.
    fn project(&self, name: &str, record_type: RecordType, places: Vec<Place>) -> Step {
        if places.is_empty() {
            return Step::End(Answer::Unknown);
        }
        let (answers, additional) = match record_type {
            RecordType::A => (addresses(name, &places, Family::V4), Vec::new()),
            RecordType::Aaaa => (addresses(name, &places, Family::V6), Vec::new()),
            RecordType::Srv => services(name, places),
            RecordType::Ptr | RecordType::Cname | RecordType::Other => (Vec::new(), Vec::new()),
        };
        if answers.is_empty() { Step::End(Answer::NoData) } else { Step::Records(answers, additional) }
    }

    /// Only their pointers: what else there may be of a reverse name is not the mesh's.
    fn names_of(&self, table: &Table, name: &str, address: IpAddr, record_type: RecordType) -> Step {
        if record_type != RecordType::Ptr {
            return Step::End(Answer::Unknown);
        }
        let mut names = BTreeSet::new();
        if let Some(entry) = table.directory().by_vip(address) {
            names.insert(self.name_of(&entry.spec.name));
        } else {
            // Only what this pod uses is held: a look at all of it is short.
            names.extend(table.iter().flat_map(|(service, held)| self.hostnames(service, held, address)));
        }
        if names.is_empty() {
            return Step::End(Answer::Unknown);
        }
        let pointer = |target| Record { name: name.to_owned(), data: Data::Pointer(target) };
        Step::Records(names.into_iter().map(pointer).collect(), Vec::new())
    }

    fn hostnames(&self, service: &ServiceName, held: &Held, address: IpAddr) -> Vec<String> {
        let endpoints = held.endpoints.as_ref().filter(|_| held.entry.value.spec.kind == ServiceKind::Headless);
        let named = endpoints.into_iter().flat_map(|endpoints| endpoints.iter()).filter(|endpoint| {
            endpoint.address.ip() == address && !endpoint.hostname.is_empty() && endpoint.conditions.ready
        });
        named.map(|endpoint| format!("{}.{}", label_of(endpoint), self.name_of(service))).collect()
    }
}

impl Part {
    fn has_port(&self, name: &str, transport: Transport) -> bool {
        let Self::Port { name: wanted, protocol } = self else { return true };
        let transport = match transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        };
        wanted.eq_ignore_ascii_case(name) && protocol == transport
    }
}

/// One look-up on the way along aliases.
enum Step {
    Records(Vec<Record>, Vec<Record>),
    Alias(String),
    End(Answer),
}

/// Where one port can be reached, and the name of who has that address.
struct Place {
    address: SocketAddr,
    name: String,
}

fn addresses(name: &str, places: &[Place], family: Family) -> Vec<Record> {
    let ips = places.iter().map(|place| place.address.ip()).filter(|ip| Family::of(*ip) == family);
    let unique: BTreeSet<IpAddr> = ips.collect();
    unique.into_iter().map(|ip| Record { name: name.to_owned(), data: Data::Address(ip) }).collect()
}

/// A record for each port of each name, all of the same share, and the addresses of the names.
fn services(name: &str, places: Vec<Place>) -> (Vec<Record>, Vec<Record>) {
    // A hundred in all, which is CoreDNS's reading; at least 1, or nobody would come (RFC 2782).
    let weight = u16::try_from(100 / places.len()).unwrap_or(100).max(1);
    let mut ports = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for Place { address, name: target } in places {
        // Port 0 stands for a Service without ports.
        if address.port() != 0 {
            hosts.insert(Record { name: target.clone(), data: Data::Address(address.ip()) });
            let data = Data::Service { weight, port: address.port(), target };
            ports.insert(Record { name: name.to_owned(), data });
        }
    }
    (ports.into_iter().collect(), hosts.into_iter().collect())
}
