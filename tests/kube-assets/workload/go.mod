module wasmesh.io/tests/kube-assets/workload

go 1.26.0
