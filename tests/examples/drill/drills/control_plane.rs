//! Control planes that are away, behind, or not of one mind.

use std::time::{Duration, Instant};

use wasmesh_tests::{Folder, fresh_ip, process::Process};

use crate::{
    endpoint::Mood,
    ground::{Ground, Listed},
};

/// How long a control plane is away: long enough for proxies to notice.
const AWAY: Duration = Duration::from_secs(3);

pub(crate) fn killed(ground: &mut Ground<'_>, fault: &mut Instant) {
    ground.control_plane = None;
    // What happens meanwhile nobody tells the proxy: one pod has gone, another has come.
    let gone = ground.any();
    ground.add(Listed::Ready);
    ground.list(gone, None);
    ground.set(gone, Mood::Dead);
    ground.pass(AWAY);
    ground.publish();
    *fault = Instant::now();
    ground.restart_control_plane();
}

pub(crate) fn paused(ground: &mut Ground<'_>, fault: &mut Instant) {
    let control_plane = ground.control_plane.as_ref().expect("a control plane");
    control_plane.pause();
    let gone = ground.any();
    ground.add(Listed::Ready);
    ground.list(gone, None);
    ground.publish();
    ground.pass(AWAY);
    ground.set(gone, Mood::Dead);
    *fault = Instant::now();
    ground.control_plane.as_ref().expect("the same").resume();
}

pub(crate) fn restarted_empty(ground: &mut Ground<'_>, fault: &mut Instant) {
    ground.control_plane = None;
    ground.clear_folder();
    ground.restart_control_plane();
    ground.pass(AWAY);
    ground.add(Listed::Ready);
    *fault = Instant::now();
    ground.publish();
}

pub(crate) fn restarted_half(ground: &mut Ground<'_>, fault: &mut Instant) {
    ground.control_plane = None;
    ground.publish_half();
    ground.restart_control_plane();
    ground.pass(AWAY);
    ground.add(Listed::Ready);
    *fault = Instant::now();
    ground.publish();
}

/// One that is behind and one that is not take turns with the proxy.
pub(crate) fn disagreeing(ground: &mut Ground<'_>, fault: &mut Instant) {
    let stale = Folder::default();
    stale.put([&ground.service()]);
    let behind = Process::control_plane(stale.path(), (fresh_ip(), 0).into());
    let (here, there) = (ground.discovery(), behind.address("discovery"));
    let gone = ground.any();
    ground.add(Listed::Ready);
    ground.list(gone, None);
    ground.publish();
    // Only the one that is behind still names it; it goes when nobody should ask it any more.
    for turn in 0..8 {
        ground.link.turn(Some(if turn % 2 == 0 { there } else { here }));
        ground.pass(Duration::from_millis(700));
    }
    ground.set(gone, Mood::Dead);
    ground.link.turn(Some(there));
    ground.pass(AWAY);
    *fault = Instant::now();
    ground.link.turn(Some(here));
}
