module echo

go 1.26

require wasmesh.io/policy v0.0.0

replace wasmesh.io/policy => ../../../sdk/go
