//! How Services behave, row by row of docs/services.md: objects in, the published Service out.

mod common;

use common::{addresses, manifest, registry, service, shown};

#[test]
fn the_tutorial_is_understood_whole() {
    let registry = registry(&manifest("tutorial.yaml"));
    assert_eq!(shown(registry.problems()), Vec::<String>::new());
    let snapshot = registry.snapshot();
    let mut names: Vec<_> = snapshot.iter().map(|(name, _)| name.to_string()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "default/clusterip-service",
            "default/google-service",
            "default/nginx-headless",
            "default/nodeport-service",
            "default/podinfo"
        ]
    );
    let podinfo = service(&registry, "default/podinfo");
    assert_eq!(addresses(&podinfo, ""), ["127.0.1.16:9898", "127.0.2.15:9898", "127.0.2.16:9898"]);
}
