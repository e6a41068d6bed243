//! The ground under all others: a pod runs, a name is answered, a Service leads to its pods.

use wasmesh_tests::kube::Cluster;

#[test]
fn a_pod_reaches_a_service_by_name() {
    let cluster = Cluster::start();
    eprintln!("{}", cluster.state());
    let namespace = cluster.namespace("rig");
    cluster.apply(&include_str!("web.yaml").replace("NAMESPACE", &namespace));
    cluster.wait(&["--namespace", &namespace, "--for=condition=Available", "deployment", "web"]);
    cluster.wait(&["--namespace", &namespace, "--for=condition=Complete", "job", "client"]);
    let said = cluster.kubectl(&["--namespace", &namespace, "logs", "job/client"], "");
    let mut pods: Vec<_> = said.lines().collect();
    pods.sort_unstable();
    pods.dedup();
    assert_eq!(said.lines().count(), 20, "{said}");
    assert!(pods.iter().all(|pod| pod.starts_with("web-")), "{said}");
}
