//! What the table of a proxy costs that knows very many endpoints: taking in a change of one of them, finding a Service by its
//! address, and memory. No network and no other process: the two ends of a stream hand each other their messages.
//!
//! Prints one JSON object.

use std::{
    alloc::System,
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use prost::Message;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use wasmesh_core::{
    candidates::Viewpoint,
    endpoint::{Conditions, Endpoint, EndpointId, EndpointSet, Hints},
    policy::{BuiltinPolicy, PortPolicy},
    service::{Affinity, AppProtocol, InternalTraffic, Service, ServiceKind, ServicePort, ServiceSpec, Transport},
    snapshot::Snapshot,
};
use wasmesh_proto::{
    session::{client::ClientSession, encoder::Encoder, server::ServerSession},
    wire,
};
use wasmesh_proxy::world::WorldBuilder;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measures the table of a proxy
#[derive(Debug, Parser)]
struct Options {
    /// How many Services there are
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// How many endpoints each of them has
    #[arg(long, default_value_t = 10)]
    endpoints: usize,
    /// How many changes and lookups are timed, one after the other
    #[arg(long, default_value_t = 2_000)]
    samples: usize,
}

/// The two ends of a stream, and what becomes of it.
struct Ends {
    snapshot: Snapshot,
    server: ServerSession,
    encoder: Encoder,
    client: ClientSession,
    builder: WorldBuilder,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let snapshot: Snapshot =
        (0..options.services).map(|n| (name(n), Arc::new(service(n, options.endpoints)))).collect();
    let directory = Ends::new(snapshot.clone()).connect()?;
    let mut ends = Ends::new(snapshot);
    (0..options.services).for_each(|n| drop(ends.client.subscribe(&name(n))));
    ends.connect()?;
    let deltas =
        (0..options.samples).map(|sample| ends.change(sample * 7 % options.services, sample)).collect::<Result<_>>()?;
    let lookups = ends.lookups(&options);
    let result = |measure: &str, name: &str, value: Value| {
        let mut result = json!({
            "measure": measure,
            "proxy": "wasmesh",
            "version": env!("CARGO_PKG_VERSION"),
            "services": options.services,
            "endpoints": options.services * options.endpoints,
            "errors": 0,
            "error": null,
        });
        result[name] = value;
        result
    };
    let results = [
        result("table-delta", "p50_us", json!(median(deltas).as_nanos() as f64 / 1e3)),
        result("table-lookup", "p50_ns", json!(median(lookups).as_nanos() as f64 / LOOKUPS as f64)),
        result("table-directory", "bytes_per_service", json!((directory as f64 / options.services as f64).round())),
    ];
    println!("{}", json!({ "results": results }));
    Ok(())
}

/// So many at once, as a clock is not that fine.
const LOOKUPS: usize = 1_000;

impl Ends {
    fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            server: ServerSession::new("bench"),
            encoder: Encoder::default(),
            client: ClientSession::default(),
            builder: WorldBuilder::new(Viewpoint::default()),
        }
    }

    /// Opens the stream and hands over everything that is owed. Returns how many bytes the proxy keeps of it.
    fn connect(&mut self) -> Result<isize> {
        let hello = self.client.hello(wire::Node::default());
        let replies = self.server.on_message(hello, &self.snapshot)?.replies;
        let welcome: Vec<_> = replies.iter().map(Message::encode_to_vec).collect();
        welcome.iter().chain(&self.said()).map(|message| self.hear(message)).sum()
    }

    fn said(&mut self) -> Vec<Vec<u8>> {
        self.server.poll(&self.snapshot, &self.encoder).iter().map(Message::encode_to_vec).collect()
    }

    /// The proxy takes a message in, up to the world that its workers use.
    fn take(&mut self, message: &[u8]) -> Result<Vec<wire::FromProxy>> {
        let reaction = self.client.on_message(wire::ToProxy::decode(message)?)?;
        if let Some(applied) = reaction.applied {
            let (world, leaving) = self.builder.advance(applied.table, true, 0);
            black_box(world);
            leaving.withdraw();
        }
        Ok(reaction.replies)
    }

    /// Returns how many bytes the proxy keeps of a message.
    fn hear(&mut self, message: &[u8]) -> Result<isize> {
        let region = Region::new(ALLOCATOR);
        let replies: Vec<_> = self.take(message)?.iter().map(Message::encode_to_vec).collect();
        let Stats { bytes_allocated, bytes_deallocated, .. } = region.change();
        let said: usize = replies.iter().map(Vec::capacity).sum();
        for reply in &replies {
            self.server.on_message(wire::FromProxy::decode(&reply[..])?, &self.snapshot)?;
        }
        Ok(bytes_allocated as isize - bytes_deallocated as isize - said as isize)
    }

    /// How long the proxy needs for one endpoint that another one takes the place of.
    fn change(&mut self, number: usize, sample: usize) -> Result<Duration> {
        let old = self.snapshot.get(&name(number)).context("there is no such Service")?;
        let mut endpoints: Vec<_> = old.endpoints.iter().map(|endpoint| (**endpoint).clone()).collect();
        if let Some(first) = endpoints.first_mut() {
            first.id = EndpointId((1 << 40) + sample as u64);
        }
        let changed = Service::with_spec(old.spec.clone(), EndpointSet::new(endpoints));
        self.snapshot.insert(name(number), Arc::new(changed));
        let said = self.said();
        let [message] = &said[..] else { anyhow::bail!("{} messages for one change", said.len()) };
        let begun = Instant::now();
        let replies = self.take(message)?;
        let took = begun.elapsed();
        for reply in replies {
            self.server.on_message(reply, &self.snapshot)?;
        }
        Ok(took)
    }

    /// How long [`LOOKUPS`] of them take.
    fn lookups(&self, options: &Options) -> Vec<Duration> {
        let directory = self.builder.world().table.directory();
        let vips: Vec<_> = (0..LOOKUPS).map(|n| vip(n * 7919 % options.services)).collect();
        let samples = (0..options.samples).map(|_| {
            let begun = Instant::now();
            for vip in &vips {
                black_box(directory.by_vip(*black_box(vip)));
            }
            begun.elapsed()
        });
        samples.collect()
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn name(number: usize) -> wasmesh_core::name::ServiceName {
    let name = format!("default/service-{number}").parse();
    name.unwrap_or_else(|_| unreachable!("two parts"))
}

fn vip(number: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a60_0000 + number as u32).into()
}

fn service(number: usize, endpoints: usize) -> Service {
    let spec = ServiceSpec {
        name: name(number),
        kind: ServiceKind::ClusterIp { vips: vec![vip(number)] },
        ports: vec![ServicePort {
            name: "http".to_owned(),
            port: 80,
            transport: Transport::Tcp,
            protocol: AppProtocol::Http1,
            policy: PortPolicy::Builtin(BuiltinPolicy::default()),
        }],
        affinity: Affinity::None,
        internal_traffic: InternalTraffic::Cluster,
    };
    Service::new(spec, EndpointSet::new((0..endpoints).map(|at| endpoint(number * endpoints + at))))
}

fn endpoint(number: usize) -> Endpoint {
    let ip = Ipv4Addr::from_bits(0x0a80_0000 + number as u32);
    Endpoint {
        id: EndpointId(number as u64),
        port: "http".to_owned(),
        address: SocketAddr::new(ip.into(), 8080),
        weight: 1,
        priority: 0,
        zone: "zone-a".to_owned(),
        node: format!("node-{}", number % 100),
        hostname: String::new(),
        labels: Default::default(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    }
}
