//! From the bytes of a module to picks.

mod support;

use support::{about, load, pick, update};
use wasmesh_policy_host::{Choice, Policy, Settings};

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
