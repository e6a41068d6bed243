//go:build wasip1

// Package feedback is for policies that are told how their requests ended. Whoever links it exports the contract's interface
// of that name, so it is a package of its own: import it, and give the policy the method Completed.
package feedback

import "wasmesh.io/policy"

// Outcome says how a request ended; nothing of it is set for one that ended well.
type Outcome uint32

// What went wrong.
const (
	TransportError Outcome = 1 << iota
	ServerError
	Timeout
	Cancelled
	Streamed
)

// Report says how one attempt ended.
type Report struct {
	EndpointID  uint64
	Tag         uint64
	FirstByteUs uint32
	TotalUs     uint32
	Status      uint32
	Outcome     Outcome
	NowMs       uint64
}

// Policy is one that is told how its requests ended.
type Policy interface {
	policy.Policy
	Completed(report Report)
}

//go:wasmexport wasmesh:policy/feedback@0.1.0#completed
func completed(endpoint, tag uint64, firstByteUs, totalUs, status, outcome uint32, nowMs uint64) {
	if told, ok := policy.Instance().(Policy); ok {
		told.Completed(Report{endpoint, tag, firstByteUs, totalUs, status, Outcome(outcome), nowMs})
	}
}
