//! Endpoints that come and go.

use std::time::{Duration, Instant};

use crate::{
    endpoint::Mood,
    ground::{Ground, Listed},
};

/// How long a pod that is told to leave waits before it does, so that everybody can hear of it (a `preStop` hook that sleeps).
const PRE_STOP: Duration = Duration::from_millis(500);

pub(crate) fn rolled(ground: &mut Ground<'_>, fault: &mut Instant) {
    for old in ground.ready() {
        ground.add(Listed::Ready);
        ground.list(old, Some(Listed::Terminating));
        *fault = Instant::now();
        ground.publish();
        ground.pass(PRE_STOP);
        ground.set(old, Mood::Leaving);
        ground.answers(100);
        ground.list(old, None);
        ground.publish();
    }
}

pub(crate) fn replaced(ground: &mut Ground<'_>, fault: &mut Instant) {
    let old = ground.ready();
    for place in &old {
        ground.add(Listed::Ready);
        ground.list(*place, Some(Listed::Terminating));
    }
    *fault = Instant::now();
    ground.publish();
    ground.pass(PRE_STOP);
    old.iter().for_each(|place| ground.set(*place, Mood::Leaving));
    ground.answers(100);
    old.iter().for_each(|place| ground.list(*place, None));
    ground.publish();
}

pub(crate) fn flapping(ground: &mut Ground<'_>, fault: &mut Instant) {
    let place = ground.any();
    for turn in 0..50 {
        ground.list(place, (turn % 2 == 1).then_some(Listed::Ready));
        *fault = Instant::now();
        ground.publish();
        ground.pass(Duration::from_millis(100));
    }
}
