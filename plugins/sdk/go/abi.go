//go:build wasip1

package policy

import (
	"math/bits"
	"runtime"
	"strings"
	"unsafe"
)

var (
	create   New
	instance Policy
	// What the answer of init points to must stay where it is until the host has read it.
	kept [][]byte
	// One answer for all functions: it is read before the next call. Decisions have a number of 64 bits and must be aligned for it.
	aligned [4]uint64
	answer  = (*[8]uint32)(unsafe.Pointer(&aligned))
	request Request
)

// Export makes this the policy that the module exports. To be called once, from an init function.
func Export(policy New) { create = policy }

// Instance returns the policy that Export's function has made.
func Instance() Policy { return instance }

//go:wasmexport wasmesh:policy/policy@0.1.0#init
func exportedInit(config unsafe.Pointer, configLen uint32, about unsafe.Pointer, aboutLen uint32) unsafe.Pointer {
	defer arena.forget()
	*answer = [8]uint32{}
	if create == nil {
		return failed("no policy: call policy.Export from an init function")
	}
	where := make(About, aboutLen)
	for _, label := range labels(about, aboutLen) {
		where[label.Name] = label.Value
	}
	made, plan, err := create(text(config, configLen), where)
	if err != nil {
		return failed(err.Error())
	}
	instance = made
	for at, list := range [][]string{plan.Keys, plan.Wants, plan.Reasons} {
		answer[1+2*at], answer[2+2*at] = lentAll(list)
	}
	return unsafe.Pointer(answer)
}

//go:wasmexport wasmesh:policy/policy@0.1.0#update
func exportedUpdate(generation, nowMs uint64, list unsafe.Pointer, count uint32) unsafe.Pointer {
	err := instance.Update(Update{Generation: generation, NowMs: nowMs, Endpoints: endpoints(list, count)})
	arena.forget()
	// Now, when there is a budget for it: by itself Go would do it when four megabytes have come together, in the midst of a pick.
	runtime.GC()
	*answer = [8]uint32{}
	if err != nil {
		return failed(err.Error())
	}
	return unsafe.Pointer(answer)
}

//go:wasmexport wasmesh:policy/policy@0.1.0#pick
func exportedPick(
	key0, key1, key2, key3, random, nowMs uint64, attempt, avoids, avoid, traits uint32,
) unsafe.Pointer {
	request = Request{
		Keys: [4]uint64{key0, key1, key2, key3}, Random: random, NowMs: nowMs, Attempt: attempt,
		avoids: avoids != 0, avoid: avoid, traits: uint8(traits),
	}
	decision := instance.Pick(&request)
	other := uint32(0)
	if decision.hasOther {
		other = 1
	}
	*answer = [8]uint32{
		decision.kind, decision.value, other, decision.alternate,
		decision.reason, 0, uint32(decision.tag), uint32(decision.tag >> 32),
	}
	return unsafe.Pointer(answer)
}

func failed(why string) unsafe.Pointer {
	answer[0] = 1
	answer[1], answer[2] = lent(why)
	return unsafe.Pointer(answer)
}

// lentAll lends a list out.
func lentAll(list []string) (at, count uint32) {
	entries := make([]uint32, 0, 2*len(list))
	for _, entry := range list {
		at, size := lent(entry)
		entries = append(entries, at, size)
	}
	if len(list) == 0 {
		return 0, 0
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&entries[0])), 4*len(entries))
	kept = append(kept, bytes)
	return address(unsafe.Pointer(&entries[0])), uint32(len(list))
}

func lent(text string) (at, size uint32) {
	bytes := []byte(utf8(text))
	if len(bytes) == 0 {
		return 0, 0
	}
	kept = append(kept, bytes)
	return address(unsafe.Pointer(&bytes[0])), uint32(len(bytes))
}

// utf8 is the text as the host takes it: whatever is no UTF-8 is replaced.
func utf8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func address(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }

// raw is a record or a list in memory, as the canonical ABI lays it out.
type raw struct{ at unsafe.Pointer }

func (r raw) u8(offset int) uint8   { return *(*uint8)(unsafe.Add(r.at, offset)) }
func (r raw) u32(offset int) uint32 { return *(*uint32)(unsafe.Add(r.at, offset)) }
func (r raw) u64(offset int) uint64 { return *(*uint64)(unsafe.Add(r.at, offset)) }

func (r raw) text(offset int) string {
	return text(unsafe.Pointer(uintptr(r.u32(offset))), r.u32(offset+4))
}

// text is valid for as long as somebody has it: it lies in the arena, and that is garbage-collected.
func text(at unsafe.Pointer, size uint32) string {
	if size == 0 {
		return ""
	}
	return unsafe.String((*byte)(at), size)
}

func labels(list unsafe.Pointer, count uint32) []Label {
	if count == 0 {
		return nil
	}
	found := make([]Label, count)
	for at := range found {
		label := raw{unsafe.Add(list, 16*at)}
		found[at] = Label{Name: label.text(0), Value: label.text(8)}
	}
	return found
}

func endpoints(list unsafe.Pointer, count uint32) []Endpoint {
	found := make([]Endpoint, count)
	for at := range found {
		e := raw{unsafe.Add(list, 64*at)}
		found[at] = Endpoint{
			ID: e.u64(0), Address: e.text(8), Weight: e.u32(16), Priority: e.u32(20), Zone: e.text(24), Node: e.text(32),
			Health: Health(e.u8(40)), ReadyMs: e.u64(48), Labels: labels(unsafe.Pointer(uintptr(e.u32(56))), e.u32(60)),
		}
	}
	return found
}

// chunks is where arguments lie: pieces of memory that are garbage as soon as no string in them is used any more.
type chunks struct {
	free []byte
	// The host knows them by number only, so that somebody must have them until the call begins.
	held [][]byte
}

var arena chunks

// A chunk has four KiB at least.
const chunkBits = 12

func (c *chunks) alloc(size, align uint32) unsafe.Pointer {
	skip := -address(unsafe.Pointer(unsafe.SliceData(c.free))) & (align - 1)
	if uint64(size)+uint64(skip) > uint64(len(c.free)) {
		// Of 64-bit numbers, so that it is aligned for everything. Twice the last one or more, so that sizes that grow by little
		// do not take a new chunk each time.
		words := make([]uint64, 1<<max(chunkBits, bits.Len32(size))/8)
		c.free, skip = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words)), 0
		c.held = append(c.held, c.free)
	}
	block := unsafe.Pointer(unsafe.SliceData(c.free[skip:]))
	c.free = c.free[skip+size:]
	return block
}

// restore takes back what was handed out since, so that a string of a request leaves nothing behind.
func (c *chunks) restore(before chunks) {
	if len(c.held) == len(before.held) {
		c.free = before.free
	} else {
		// A new chunk, and nothing of it is used any more. It takes the place of all others, whose strings the call has by now:
		// else ever larger bodies would each leave a chunk behind.
		c.free = c.held[len(c.held)-1]
		clear(c.held)
		c.held = append(c.held[:0], c.free)
	}
}

// forget lets go of everything but what somebody else has a string of.
func (c *chunks) forget() { c.free, c.held = nil, nil }

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	block := arena.alloc(size, align)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(block), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return block
}
