module wasmesh.io/policy

go 1.26
