//! The ground under all others: a pod runs, a name is answered, a Service leads to its pods, a Job ends.

use wasmesh_tests::kube::Cluster;

#[test]
fn a_pod_reaches_a_service_by_name() {
    let cluster = Cluster::start();
    let namespace = cluster.namespace("rig");
    cluster.apply(&include_str!("web.yaml").replace("NAMESPACE", &namespace));
    cluster.wait(&["--namespace", &namespace, "--for=condition=Available", "deployment", "web"]);
    cluster.apply(&include_str!("job.yaml").replace("NAMESPACE", &namespace));
    cluster.wait(&["--namespace", &namespace, "--for=condition=Complete", "job", "asks"]);
    let said = cluster.kubectl(&["--namespace", &namespace, "logs", "job/asks"], "");
    assert_eq!(said.lines().filter(|line| line.starts_with("web-")).count(), 20, "{said}");
}
