//go:build wasip1

package policy

import (
	"slices"
	"unsafe"
)

// InFlight returns how many requests are under way to the endpoint.
func InFlight(endpoint uint32) uint32 { return hostInFlight(endpoint) }

// TotalInFlight returns how many are under way to all endpoints of the list.
func TotalInFlight() uint32 { return hostTotalInFlight() }

// LatencyUs returns the time to response headers as a peak EWMA in microseconds, 0 while there is no sample.
func LatencyUs(endpoint uint32) uint32 { return hostLatencyUs(endpoint) }

// FailureRate returns how many of 1000 recent requests failed.
func FailureRate(endpoint uint32) uint32 { return hostFailureRate(endpoint) }

// Available is false while the endpoint is ejected for failing, full, or gone.
func Available(endpoint uint32) bool { return hostAvailable(endpoint) != 0 }

// Reported returns what the endpoint said of itself last: the report: word at this index of [Plan.Wants], in thousandths.
func Reported(endpoint, want uint32) uint32 { return hostReported(endpoint, want) }

// Peers returns how many proxies balance over the same endpoints, this one included.
func Peers() uint32 { return hostPeers() }

// DeadlineMs returns how many milliseconds are left for this request, [Nothing] if nothing limits it.
func DeadlineMs() uint32 { return hostDeadlineMs() }

// Text returns the string: word at this index of [Plan.Wants], of the request that is being picked for. It costs more than
// most picks and allocates.
func Text(want uint32) (value string, found bool) {
	before := arena
	hostText(want, unsafe.Pointer(&result))
	value = string(given(result[1], result[2]))
	arena.restore(before)
	return value, result[0] != 0
}

// Body returns the prefix of the body that the body: word of [Plan.Wants] asked for.
func Body() []byte {
	before := arena
	hostBody(unsafe.Pointer(&result))
	body := slices.Clone(given(result[0], result[1]))
	arena.restore(before)
	return body
}

// Log levels.
const (
	levelError uint32 = iota
	levelWarn
	levelInfo
	levelDebug
)

// LogError says that something is broken and somebody should act.
func LogError(line string) { logLine(levelError, line) }

// LogWarn says that something is odd.
func LogWarn(line string) { logLine(levelWarn, line) }

// LogInfo says what is worth knowing once. A line costs more than a pick: not for each request.
func LogInfo(line string) { logLine(levelInfo, line) }

// LogDebug is for the policy's author; proxies drop it unless told otherwise.
func LogDebug(line string) { logLine(levelDebug, line) }

func logLine(level uint32, line string) {
	line = utf8(line)
	hostLog(level, unsafe.Pointer(unsafe.StringData(line)), uint32(len(line)))
}

// result is where the host writes what does not fit into a number; it is read before the next call.
var result [3]uint32

// given is what the host has put into the arena.
func given(at, size uint32) []byte {
	if size == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(at))), size)
}

//go:wasmimport wasmesh:policy/stats@0.1.0 in-flight
func hostInFlight(endpoint uint32) uint32

//go:wasmimport wasmesh:policy/stats@0.1.0 total-in-flight
func hostTotalInFlight() uint32

//go:wasmimport wasmesh:policy/stats@0.1.0 latency-us
func hostLatencyUs(endpoint uint32) uint32

//go:wasmimport wasmesh:policy/stats@0.1.0 failure-rate
func hostFailureRate(endpoint uint32) uint32

//go:wasmimport wasmesh:policy/stats@0.1.0 available
func hostAvailable(endpoint uint32) uint32

//go:wasmimport wasmesh:policy/stats@0.1.0 reported
func hostReported(endpoint, want uint32) uint32

//go:wasmimport wasmesh:policy/stats@0.1.0 peers
func hostPeers() uint32

//go:wasmimport wasmesh:policy/request-info@0.1.0 text
func hostText(want uint32, result unsafe.Pointer)

//go:wasmimport wasmesh:policy/request-info@0.1.0 body
func hostBody(result unsafe.Pointer)

//go:wasmimport wasmesh:policy/request-info@0.1.0 deadline-ms
func hostDeadlineMs() uint32

//go:wasmimport wasmesh:policy/log@0.1.0 write
func hostLog(level uint32, line unsafe.Pointer, size uint32)
