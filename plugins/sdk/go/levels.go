package policy

import "slices"

// Why an endpoint was chosen by [Levels]: indexes into [Reasons].
const (
	Chosen uint32 = iota
	StandIn
	LastResort
)

// Reasons are names for what Levels decides, for [Plan.Reasons].
var Reasons = []string{"chosen", "stand-in", "last-resort"}

// Chooser chooses among the endpoints of one priority, which are never none.
type Chooser interface {
	// Choose returns a position, and whether that member is usable: [Members.IsUsable] knows.
	Choose(members *Members, request *Request) (position int, usable bool)
}

// Levels are choosers by ascending priority. They do by the rules of the built-in policies what most policies share:
// priorities, and somebody else when the chosen endpoint cannot take the request.
type Levels struct{ levels []level }

type level struct {
	members Members
	chooser Chooser
}

// NewLevels makes a chooser for the endpoints of each priority.
func NewLevels(endpoints []Endpoint, chooser func(members *Members, endpoints []Endpoint) Chooser) Levels {
	return LevelsAmong(endpoints, func(*Endpoint) bool { return true }, chooser)
}

// LevelsAmong makes choosers for those of the endpoints that keep says.
func LevelsAmong(
	endpoints []Endpoint, keep func(*Endpoint) bool, chooser func(members *Members, endpoints []Endpoint) Chooser,
) Levels {
	var priorities []uint32
	for at := range endpoints {
		if keep(&endpoints[at]) && !slices.Contains(priorities, endpoints[at].Priority) {
			priorities = append(priorities, endpoints[at].Priority)
		}
	}
	slices.Sort(priorities)
	levels := make([]level, len(priorities))
	for at, priority := range priorities {
		levels[at].members = MembersOf(endpoints, func(e *Endpoint) bool { return e.Priority == priority && keep(e) })
		levels[at].chooser = chooser(&levels[at].members, endpoints)
	}
	return Levels{levels}
}

// Pick says who takes the request, and why; the built-in policy if there is nobody but the one to avoid. While more than half
// of a priority are ejected, that is disregarded.
func (l *Levels) Pick(request *Request) Decision {
	for at := range l.levels {
		level := &l.levels[at]
		// A priority that nobody is left of is passed over unpicked: it must not use up turns.
		if len(l.levels) > 1 && level.members.UsableFrom(0, request) < 0 {
			continue
		}
		if decision, found := level.pick(request, true); found {
			return decision
		}
	}
	for at := range l.levels {
		members := &l.levels[at].members
		if position := members.possibleFrom(members.randomPosition(request), request); position >= 0 {
			return To(members.Index(position)).Because(LastResort)
		}
	}
	return Fallback()
}

// PickUsable is the same, but only ever for somebody who is usable: for when there are others to turn to.
func (l *Levels) PickUsable(request *Request) (decision Decision, found bool) {
	for at := range l.levels {
		if decision, found = l.levels[at].pick(request, false); found {
			return decision, true
		}
	}
	return Fallback(), false
}

func (l *level) pick(request *Request, mayPanic bool) (decision Decision, found bool) {
	position, usable := l.chooser.Choose(&l.members, request)
	if usable || mayPanic && l.members.isPossible(position, request) && l.members.isPanicking() {
		return To(l.members.Index(position)).Because(Chosen), true
	}
	// From a random one on, so that it is not the same neighbour who inherits all of the traffic.
	position = l.members.UsableFrom(l.members.randomPosition(request), request)
	if position < 0 {
		return Fallback(), false
	}
	return To(l.members.Index(position)).Because(StandIn), true
}
