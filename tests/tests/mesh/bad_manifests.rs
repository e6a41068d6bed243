//! Manifests that are wrong: what was good before serves on, and the mistake is shown with its place.

use wasmesh_tests::{Backend, Mesh, Service, eventually, fresh_vip, until};

fn problems(mesh: &Mesh) -> String {
    mesh.control_plane.admin().page("/debug/problems").text()
}

#[test]
fn a_broken_file_leaves_the_last_good_state_and_is_named_with_its_line() {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&a)]);
    mesh.folder.write("mesh.json", "{\n  \"kind\": \"List\",\n  \"items\": [ } ]\n}\n");
    let shown = eventually("the problem is listed", || {
        let shown = problems(&mesh);
        shown.contains("mesh.json").then_some(shown)
    });
    assert!(shown.contains("mesh.json:3"), "{shown}");
    assert!(mesh.control_plane.admin().metric("wasmesh_control_plane_problems", &[]) >= 0.0);
    mesh.spread("http://web/", 10);

    mesh.apply([Service::new("web").endpoint(&b)]);
    assert_eq!(mesh.get("http://web/").backend(), b.address());
    until("the problem is gone", || !problems(&mesh).contains("mesh.json"));
}

#[test]
fn one_bad_object_does_not_keep_back_the_others() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    mesh.folder.write("more.yaml", "kind: Service\napiVersion: v1\nmetadata: {name: bad}\nspec: {ports: 7}\n");
    until("the problem is listed", || problems(&mesh).contains("more.yaml"));
    mesh.apply([Service::new("web").endpoint(&backend), Service::new("other").endpoint(&backend)]);
    assert_eq!(mesh.get("http://other/").status, 200);
}

#[test]
fn a_taken_address_stays_with_the_older_service_and_is_reported() {
    let [first, second] = Backend::several();
    let vip = fresh_vip();
    let mesh = Mesh::of([Service::new("aa").vip(vip).endpoint(&first), Service::new("bb").vip(vip).endpoint(&second)]);
    assert_eq!(mesh.get(&format!("http://{vip}/")).backend(), first.address());
    // Without the address it is still there by name.
    assert_eq!(mesh.get("http://bb/").backend(), second.address());
    let shown = problems(&mesh);
    assert!(shown.contains(&vip.to_string()) && shown.contains("default/aa"), "{shown}");
}
