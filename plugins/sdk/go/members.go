package policy

// Members are some of the endpoints, numbered by position; an index is a place in the whole list.
type Members struct {
	// Weights are by position, at least 1.
	Weights []uint32
	// Uneven says whether weights differ.
	Uneven  bool
	indexes []uint32
}

// MembersOf returns those of the endpoints that keep says, in the order of the list.
func MembersOf(endpoints []Endpoint, keep func(*Endpoint) bool) Members {
	var members Members
	for index := range endpoints {
		if keep(&endpoints[index]) {
			members.indexes = append(members.indexes, uint32(index))
			members.Weights = append(members.Weights, max(endpoints[index].Weight, 1))
			members.Uneven = members.Uneven || members.Weights[len(members.Weights)-1] != members.Weights[0]
		}
	}
	return members
}

// Len returns how many there are.
func (m *Members) Len() int { return len(m.indexes) }

// Index returns where the member stands in the whole list.
func (m *Members) Index(position int) uint32 { return m.indexes[position] }

// IsUsable says whether this request should go there: not ejected, full or gone, and not where it has just failed.
func (m *Members) IsUsable(position int, request *Request) bool {
	return m.isPossible(position, request) && Available(m.indexes[position])
}

// isPossible says whether this request may go there if need be: not where it has just failed.
func (m *Members) isPossible(position int, request *Request) bool {
	return !request.Avoids(m.indexes[position])
}

// isPanicking says whether more than half are not available. Then the trouble is likely elsewhere, and sending everything to
// the few that are left would only bring these down too.
func (m *Members) isPanicking() bool {
	ejected := 0
	for _, index := range m.indexes {
		if !Available(index) {
			ejected++
		}
	}
	return ejected*2 > len(m.indexes)
}

// UsableFrom returns the first usable member from start on, round the list; -1 if there is none.
func (m *Members) UsableFrom(start int, request *Request) int {
	for step := range m.indexes {
		if at := (start + step) % len(m.indexes); m.IsUsable(at, request) {
			return at
		}
	}
	return -1
}

// possibleFrom returns the first from start on that the request may go to if need be; -1 if there is none.
func (m *Members) possibleFrom(start int, request *Request) int {
	for step := range m.indexes {
		if at := (start + step) % len(m.indexes); m.isPossible(at, request) {
			return at
		}
	}
	return -1
}

func (m *Members) randomPosition(request *Request) int {
	return int(Below(Mix(request.Random), uint64(len(m.indexes))))
}
