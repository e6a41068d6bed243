//! Endpoints that are listed as ready and are not.

use std::time::{Duration, Instant};

use crate::{endpoint::Mood, ground::Ground};

/// How long it lasts.
const WHILE: Duration = Duration::from_secs(4);
/// Longer than clients wait for an answer.
const LONG: Duration = Duration::from_secs(12);

pub(crate) fn refusing(ground: &mut Ground<'_>, fault: &mut Instant) {
    moody(ground, fault, Mood::Dead);
}

pub(crate) fn closing(ground: &mut Ground<'_>, fault: &mut Instant) {
    moody(ground, fault, Mood::Closing);
}

pub(crate) fn slow(ground: &mut Ground<'_>, fault: &mut Instant) {
    moody(ground, fault, Mood::Slow(Duration::from_secs(1)));
}

pub(crate) fn garbage(ground: &mut Ground<'_>, fault: &mut Instant) {
    moody(ground, fault, Mood::Garbage);
}

pub(crate) fn breaking(ground: &mut Ground<'_>, fault: &mut Instant) {
    moody(ground, fault, Mood::Breaking);
}

/// One of them gets into this mood, for a while.
fn moody(ground: &mut Ground<'_>, fault: &mut Instant, mood: Mood) {
    let place = ground.any();
    ground.set(place, mood);
    ground.pass(WHILE);
    *fault = Instant::now();
    ground.set(place, Mood::Well);
}

/// Packets to it, and of it, are lost.
pub(crate) fn black_hole(ground: &mut Ground<'_>, fault: &mut Instant) {
    let place = ground.any();
    ground.swallow(place);
    ground.pass(LONG);
    *fault = Instant::now();
    ground.spit_out();
}
