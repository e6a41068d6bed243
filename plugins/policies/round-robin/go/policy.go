// Each endpoint in turn; with uneven weights, each in as many turns as its weight says. Picks what the built-in round robin
// picks.
//
// Uneven weights are served by the static stride scheduler of gRPC's weighted_round_robin (gRFC A58): a cursor walks over the
// endpoints again and again, and one sits out the rounds that its weight does not entitle it to.
package main

import (
	"slices"

	"wasmesh.io/policy"
)

type roundRobin struct {
	levels policy.Levels
	cursor uint64
	begun  bool
}

func init() {
	policy.Export(func(config string, _ policy.About) (policy.Policy, policy.Plan, error) {
		return &roundRobin{}, policy.Plan{Reasons: policy.Reasons}, policy.NoConfig(config)
	})
}

func main() {}

func (r *roundRobin) Update(update policy.Update) error {
	r.levels = policy.NewLevels(update.Endpoints, func(members *policy.Members, _ []policy.Endpoint) policy.Chooser {
		return &turns{cursor: &r.cursor, weights: scaled(members)}
	})
	return nil
}

func (r *roundRobin) Pick(request *policy.Request) policy.Decision {
	if !r.begun {
		// At a random place: else every proxy would begin with the same endpoint.
		r.cursor, r.begun = request.Random, true
	}
	return r.levels.Pick(request)
}

// The heaviest endpoint's weight after scaling; it takes part in every round.
const maxWeight = 65535

// Endpoints begin their rounds at different phases, so that light ones do not all come in the same round.
const phase = maxWeight / 2

type turns struct {
	cursor *uint64
	// Scaled so that the largest is maxWeight; none if all are the same.
	weights []uint16
}

func scaled(members *policy.Members) []uint16 {
	if !members.Uneven {
		return nil
	}
	largest := uint64(slices.Max(members.Weights))
	weights := make([]uint16, members.Len())
	for at, weight := range members.Weights {
		// At least 1: whoever has any weight at all has its turn some time.
		weights[at] = uint16(max((uint64(weight)*maxWeight+largest/2)/largest, 1))
	}
	return weights
}

func (t *turns) Choose(members *policy.Members, request *policy.Request) (int, bool) {
	position := t.next(uint64(members.Len()))
	return position, members.IsUsable(position, request)
}

// next says whose turn it is. It skips fewer than there are, because the heaviest never sits out.
func (t *turns) next(count uint64) int {
	for {
		turn := *t.cursor
		*t.cursor++
		position, round := turn%count, turn/count
		if t.weights == nil {
			return int(position)
		}
		weight := uint64(t.weights[position])
		if (weight*(round%maxWeight)+phase*position)%maxWeight >= maxWeight-weight {
			return int(position)
		}
	}
}
