//! The stream between control plane and proxy: cut anywhere, late, taken up again in the middle of changes.

use std::time::{Duration, Instant};

use crate::ground::{Ground, Listed};

pub(crate) fn cut_in_messages(ground: &mut Ground<'_>, fault: &mut Instant) {
    for _ in 0..20 {
        let bytes = ground.random.u64(1..400);
        ground.link.cut_after(bytes);
        replace_one(ground);
        *fault = Instant::now();
        ground.publish();
        ground.pass(Duration::from_millis(200));
    }
}

pub(crate) fn late(ground: &mut Ground<'_>, fault: &mut Instant) {
    ground.link.delay(Duration::from_millis(800));
    for _ in 0..5 {
        replace_one(ground);
        *fault = Instant::now();
        ground.publish();
        ground.pass(Duration::from_millis(300));
    }
    ground.pass(Duration::from_secs(1));
    ground.link.delay(Duration::ZERO);
}

/// Each change is on its way on one stream while the next one is begun on another.
pub(crate) fn taken_up_again(ground: &mut Ground<'_>, fault: &mut Instant) {
    ground.link.delay(Duration::from_millis(50));
    for _ in 0..20 {
        replace_one(ground);
        *fault = Instant::now();
        ground.publish();
        let pause = ground.random.u64(10..120);
        ground.pass(Duration::from_millis(pause));
        ground.link.turn(Some(ground.discovery()));
    }
    ground.link.delay(Duration::ZERO);
}

/// A pod leaves the list, though it answers to the end; another comes.
fn replace_one(ground: &mut Ground<'_>) {
    let gone = ground.any();
    ground.add(Listed::Ready);
    ground.list(gone, None);
}
