// Of two endpoints chosen by chance, the one with fewer requests under way.
package main

import "wasmesh.io/policy"

type lessLoaded struct {
	// Priorities, and somebody else when the chosen endpoint cannot take the request.
	levels policy.Levels
}

func init() {
	policy.Export(func(config string, _ policy.About) (policy.Policy, policy.Plan, error) {
		return &lessLoaded{}, policy.Plan{Reasons: policy.Reasons}, policy.NoConfig(config)
	})
}

func main() {}

func (l *lessLoaded) Update(update policy.Update) error {
	l.levels = policy.NewLevels(update.Endpoints, func(*policy.Members, []policy.Endpoint) policy.Chooser {
		return ofTwo{}
	})
	return nil
}

func (l *lessLoaded) Pick(request *policy.Request) policy.Decision {
	return l.levels.Pick(request)
}

type ofTwo struct{}

func (ofTwo) Choose(members *policy.Members, request *policy.Request) (int, bool) {
	count := uint64(members.Len())
	chosen := int(policy.Below(request.Random, count))
	other := int(policy.Below(policy.Mix(request.Random), count))
	if policy.InFlight(members.Index(other)) < policy.InFlight(members.Index(chosen)) {
		chosen = other
	}
	return chosen, members.IsUsable(chosen, request)
}
