//! Whose an address is.

mod support;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use proptest::prelude::*;
use support::{any_endpoints, any_name, endpoint, name, socket, spec};
use wasmesh_core::{
    endpoint::{Conditions, EndpointSet},
    name::ServiceName,
    owners::{MAX_OWNERS, Owners},
    service::Service,
    snapshot::{Snapshot, same_service},
};

fn service(service: &str, endpoints: EndpointSet) -> (ServiceName, Arc<Service>) {
    (name(service), Arc::new(Service::new(spec(service, &[]), endpoints)))
}

fn snapshot(services: &[(&str, &[&str])]) -> Snapshot {
    let endpoints = |addresses: &[&str]| EndpointSet::new(addresses.iter().map(|address| endpoint(address)));
    services.iter().map(|(name, addresses)| service(name, endpoints(addresses))).collect()
}

fn names(owners: &Owners, address: &str) -> Vec<String> {
    owners.of(socket(address)).iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_is_its_services_and_no_other_port_of_it_is() {
    let mut owners = Owners::default();
    let first = snapshot(&[("shop/web", &["10.0.0.1:80", "10.0.0.2:80"]), ("shop/all", &["10.0.0.1:80"])]);
    owners.follow(Snapshot::default().differences(&first, same_service));
    assert_eq!(names(&owners, "10.0.0.1:80"), ["shop/all", "shop/web"]);
    assert_eq!(names(&owners, "10.0.0.2:80"), ["shop/web"]);
    assert!(names(&owners, "10.0.0.2:81").is_empty() && names(&owners, "10.0.0.3:80").is_empty());

    let next = snapshot(&[("shop/web", &["10.0.0.2:80", "10.0.0.3:80"])]);
    owners.follow(first.differences(&next, same_service));
    assert!(names(&owners, "10.0.0.1:80").is_empty());
    assert_eq!(names(&owners, "10.0.0.3:80"), ["shop/web"]);
    owners.follow(next.differences(&Snapshot::default(), same_service));
    assert!(owners.is_empty());
}

#[test]
fn a_pod_of_a_service_without_ports_is_its_on_every_port() {
    let mut owners = Owners::default();
    let all = snapshot(&[("shop/pods", &["10.0.0.1:0"]), ("shop/web", &["10.0.0.1:80"])]);
    owners.follow(Snapshot::default().differences(&all, same_service));
    assert_eq!(names(&owners, "10.0.0.1:80"), ["shop/pods", "shop/web"]);
    assert_eq!(names(&owners, "10.0.0.1:9090"), ["shop/pods"]);
}

#[test]
fn endpoints_that_are_not_ready_have_owners_too_and_an_answer_is_bounded() {
    let mut owners = Owners::default();
    let mut draining = endpoint("10.0.0.1:80");
    draining.conditions = Conditions { ready: false, serving: true, terminating: true };
    let many = (0..20).map(|n| service(&format!("shop/{n:02}"), EndpointSet::new([draining.clone()])));
    owners.follow(Snapshot::default().differences(&many.collect(), same_service));
    let told = owners.of(socket("10.0.0.1:80"));
    assert_eq!((told.len(), &told[0]), (MAX_OWNERS, &name("shop/00")));
}

fn any_snapshot() -> impl Strategy<Value = BTreeMap<ServiceName, EndpointSet>> {
    proptest::collection::btree_map(any_name(), any_endpoints(), 0..5)
}

proptest! {
    /// Whatever comes after whatever, the index is what it would be if it had been made of the last snapshot alone.
    #[test]
    fn following_changes_leads_to_where_starting_anew_does(steps in proptest::collection::vec(any_snapshot(), 1..5)) {
        let (mut before, mut owners) = (Snapshot::default(), Owners::default());
        for step in steps {
            let now: Snapshot =
                step.into_iter().map(|(name, endpoints)| service(name.as_str(), endpoints)).collect();
            owners.follow(before.differences(&now, same_service));
            let mut anew = Owners::default();
            anew.follow(Snapshot::default().differences(&now, same_service));
            prop_assert_eq!(owners.len(), anew.len());
            let addresses = now.iter().flat_map(|(_, service)| service.endpoints.iter()).map(|it| it.address);
            for address in addresses.collect::<Vec<SocketAddr>>() {
                prop_assert_eq!(owners.of(address), anew.of(address));
                prop_assert!(!anew.of(address).is_empty());
            }
            before = now;
        }
    }
}
