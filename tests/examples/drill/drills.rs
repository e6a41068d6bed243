//! What goes wrong.

mod bad_endpoints;
mod control_plane;
mod endpoints;
mod floods;
mod names;
mod policies;
mod resources;
mod stream;

use std::time::Instant;

use crate::ground::{Ground, Setting};

/// Something that goes wrong.
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether it stands for others in the short form.
    pub(crate) is_short: bool,
    /// How the proxy is started.
    pub(crate) setting: Setting,
    /// Has it go wrong, under load. What it leaves behind must become steady; how long that takes is counted from the moment that is
    /// handed in, which it may put later.
    pub(crate) run: fn(&mut Ground<'_>, &mut Instant),
}

const fn drill(name: &'static str, about: &'static str, run: fn(&mut Ground<'_>, &mut Instant)) -> Drill {
    Drill { name, about, is_short: false, setting: Setting::Usual, run }
}

impl Drill {
    const fn short(self) -> Self {
        Self { is_short: true, ..self }
    }

    const fn with(self, setting: Setting) -> Self {
        Self { setting, ..self }
    }
}

/// All of them.
pub(crate) const DRILLS: &[Drill] = &[
    drill("control-plane-killed", "it is away while pods change, and comes back", control_plane::killed),
    drill("control-plane-paused", "it is there and says nothing (SIGSTOP)", control_plane::paused),
    drill("control-plane-empty", "it comes back and finds nothing to read", control_plane::restarted_empty),
    drill("control-plane-half", "it comes back and finds half of what there was", control_plane::restarted_half)
        .short(),
    drill("control-planes-disagree", "two take turns, one of them behind", control_plane::disagreeing),
    drill("stream-cut", "the stream is cut in the middle of messages", stream::cut_in_messages).short(),
    drill("stream-late", "what is said is late", stream::late),
    drill("stream-taken-up", "streams end and begin while changes are on their way", stream::taken_up_again),
    drill("endpoints-rolled", "a Deployment replaces its pods one by one", endpoints::rolled).short(),
    drill("endpoints-replaced", "all pods are replaced at once", endpoints::replaced),
    drill("endpoints-flapping", "one pod comes and goes ten times a second", endpoints::flapping),
    drill("endpoint-refuses", "a pod crashes, stays listed, and comes back", bad_endpoints::refusing),
    drill("endpoint-black-hole", "packets to and from a pod are lost", bad_endpoints::black_hole),
    drill("endpoint-closes", "a pod accepts, reads, and closes", bad_endpoints::closing),
    drill("endpoint-slow", "a pod takes a second", bad_endpoints::slow).short(),
    drill("endpoint-garbage", "a pod answers what nobody understands", bad_endpoints::garbage),
    drill("endpoint-breaks", "a pod breaks its answers off", bad_endpoints::breaking).short(),
    drill("dns-upstream-dead", "the pod's name server is silent, under a flood", names::upstream_dead)
        .with(Setting::Options(names::OPTIONS)),
    drill("flood-connections", "ten times as many connections as there may be", floods::connections)
        .with(Setting::Kept(floods::CONNECTIONS)),
    drill("flood-requests", "ten times as many requests as there may be, none of them answered", floods::requests)
        .with(Setting::Kept(floods::REQUESTS))
        .short(),
    drill("flood-heads", "heads without end, and heads that come byte by byte", floods::heads),
    drill("flood-http2", "resets, pings, settings, endless heads, answers that nobody reads", floods::http2),
    drill("flood-unread", "ten times as much as may be held for clients that do not read", floods::unread_streams)
        .with(Setting::Options(floods::BUFFERED)),
    drill("no-files", "the proxy is out of file descriptors", resources::no_files)
        .with(Setting::Files(resources::FILES))
        .short(),
    drill(
        "little-memory",
        "64 MiB for the proxy, and clients that ask for much and read nothing",
        resources::little_memory,
    )
    .with(Setting::Options(resources::BUFFERED)),
    drill("clock-leaps", "the wall clock leaps by an hour, a day, ten years", resources::clock_leaps)
        .with(Setting::Clock),
    drill("disk-full", "there is no room for compiled modules", resources::disk_full).with(Setting::SmallDisk).short(),
    drill("policy-spins", "a policy does not end", policies::spinning),
    drill("policy-traps", "a policy crashes", policies::trapping).short(),
    drill("policy-refused", "policies come that cannot be used", policies::refused),
    drill("policy-replaced", "a policy is replaced five times", policies::replaced),
];
