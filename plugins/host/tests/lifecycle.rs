//! From the bytes of a module to picks.

mod support;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use support::{about, load, pick, update};
use wasmesh_policy_host::{Choice, Host, Instance, Module, Policy, Settings, Snapshot};

#[test]
fn a_policy_is_loaded_prepared_updated_and_picks() {
    let module = load("rust/round-robin");
    let policy = Policy::prepare(&module, Settings::default(), &about()).unwrap();
    let mut instance = policy.instance(&about()).unwrap();
    update(&mut instance, 3);
    let picked: Vec<_> = (0..6).map(|_| pick(&mut instance, 1).choice).collect();
    let Choice::Endpoint(first) = picked[0] else { panic!("{picked:?}") };
    let expected: Vec<_> = (0..6).map(|turn| Choice::Endpoint((first + turn) % 3)).collect();
    assert_eq!(picked, expected);
}

/// Time in which somebody else was running is not charged to anybody.
#[test]
fn a_busy_machine_makes_no_faults() {
    let policy = Policy::prepare(&load("rust/least-request"), Settings::default(), &about()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let mut instance = policy.instance(&about()).unwrap();
        for round in 0..50 {
            update(&mut instance, 100 + round);
            for random in 0..2_000 {
                pick(&mut instance, random);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn instances_move_between_threads_and_the_rest_is_shared() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Instance>();
    moves::<Snapshot>();
    is_shared::<Host>();
    is_shared::<Module>();
    is_shared::<Policy>();
}
