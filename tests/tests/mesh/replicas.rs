//! Two control planes that read the same objects are as good as one.

use wasmesh_tests::{Backend, ControlPlane, Folder, Proxy, Service, Switch, fresh_vip, until};

fn many_services(backend: &Backend, others: usize) -> Vec<Service> {
    let others =
        (0..others).map(|number| Service::new(&format!("shop/other-{number}")).vip(fresh_vip()).endpoint(backend));
    others.chain([Service::new("web").endpoint(backend)]).collect()
}

#[test]
fn replicas_give_the_same_versions() {
    let backend = Backend::start();
    let folder = Folder::default();
    let services = many_services(&backend, 50);
    folder.put(&services);
    let (one, other) = (ControlPlane::named("one", folder.path()), ControlPlane::named("other", folder.path()));
    let page = |replica: &ControlPlane| {
        let mut page = replica.admin().json("/debug/snapshot");
        // It counts what this replica has published.
        page["sequence"].take();
        page
    };
    assert_eq!(page(&one), page(&other));

    // One sees two changes, the other, restarted, only their result.
    for kept in [40, 20] {
        let before = one.sequence();
        folder.put(&services[..kept]);
        one.wait_published_after(before);
    }
    let late = ControlPlane::named("late", folder.path());
    assert_eq!(page(&one), page(&late));
}

#[test]
fn a_proxy_goes_on_with_another_replica_and_nothing_is_sent_again() {
    let [a, b] = Backend::several();
    let folder = Folder::default();
    let mut services = many_services(&a, 500);
    folder.put(&services);
    let (one, other) = (ControlPlane::named("one", folder.path()), ControlPlane::named("other", folder.path()));
    let switch = Switch::to(one.discovery());
    let proxy = Proxy::start(&switch.url(), &[]);
    one.wait_current(proxy.full_name());
    assert_eq!(proxy.get("http://web/").backend(), a.address());
    one.wait_current(proxy.full_name());
    let whole = switch.take_received();
    assert!(whole > 20_000, "{whole} bytes are few for 501 services");

    switch.turn(Some(other.discovery()));
    proxy.wait("the other replica is connected to", |snapshot| snapshot["connected_to"] == "other");
    other.wait_current(proxy.full_name());
    let resumed = switch.take_received();
    assert!(resumed < 1_000, "{resumed} bytes were sent to a proxy that had everything");
    assert_eq!(proxy.snapshot()["subscriptions"], 1);

    // And goes on from there.
    let before = other.sequence();
    services.pop();
    services.push(Service::new("web").endpoint(&b));
    folder.put(&services);
    other.wait_published_after(before);
    other.wait_current(proxy.full_name());
    assert_eq!(proxy.get("http://web/").backend(), b.address());
    let changed = switch.take_received();
    assert!(changed < 2_000, "{changed} bytes were sent for one endpoint");
}

#[test]
fn what_changes_while_a_proxy_moves_is_all_that_is_sent() {
    let [a, b] = Backend::several();
    let folder = Folder::default();
    let mut services = many_services(&a, 500);
    folder.put(&services);
    let one = ControlPlane::named("one", folder.path());
    let switch = Switch::to(one.discovery());
    let proxy = Proxy::start(&switch.url(), &[]);
    proxy.get("http://web/");
    one.wait_current(proxy.full_name());
    switch.turn(None);
    proxy.wait("the stream is lost", |snapshot| snapshot["connected_to"].is_null());

    services.remove(0);
    services.pop();
    services.push(Service::new("web").endpoint(&b));
    folder.put(&services);
    let other = ControlPlane::named("other", folder.path());
    switch.take_received();
    switch.turn(Some(other.discovery()));
    until("the change is there", || proxy.get("http://web/").backend() == b.address());
    until("the removal is there", || proxy.service("shop/other-0").is_none());
    let sent = switch.take_received();
    assert!(sent < 6_000, "{sent} bytes were sent for two changes");
}
