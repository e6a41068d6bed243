// Hands back what it is given, for the tests of the host: what is to be answered says the request's header x-say.
package main

import (
	"errors"
	"strings"

	"wasmesh.io/policy"
	"wasmesh.io/policy/feedback"
)

// Text that is no UTF-8: it has to reach the host with U+FFFD in it.
const broken = "broken \xff"

type echo struct {
	names []string
	last  feedback.Report
}

func init() {
	policy.Export(func(config string, _ policy.About) (policy.Policy, policy.Plan, error) {
		if strings.Contains(config, "refuse") {
			return nil, policy.Plan{}, errors.New(broken)
		}
		return &echo{}, policy.Plan{
			Keys:    []string{"header:x-first", "header:x-second", "header:x-third", "header:x-fourth"},
			Wants:   []string{"string:header:x-say", "body:65536", "report:queue"},
			Reasons: []string{"none", "said"},
		}, nil
	})
}

func main() {}

func (e *echo) Update(update policy.Update) error {
	e.names = nil
	for at := range update.Endpoints {
		name := update.Endpoints[at].Label("name")
		if name == "refuse" {
			return errors.New(broken)
		}
		e.names = append(e.names, name)
	}
	return nil
}

func (e *echo) Pick(request *policy.Request) policy.Decision {
	say, found := policy.Text(0)
	if !found {
		return policy.Fallback()
	}
	switch say {
	case "reject":
		return policy.Reject(418)
	case "hold":
		return policy.Hold(7)
	case "log":
		policy.LogWarn(broken)
		return policy.Fallback()
	case "key":
		return policy.To(0).Tagged(request.Keys[3])
	case "body":
		body := policy.Body()
		if len(body) == 0 {
			return policy.Fallback()
		}
		return policy.To(0).Tagged(uint64(len(body))<<8 + uint64(body[len(body)-1]))
	case "reported":
		return policy.To(0).Tagged(uint64(policy.Reported(1, 2)))
	case "deadline":
		return policy.To(0).Tagged(uint64(policy.DeadlineMs()))
	case "completed":
		return policy.To(e.last.Status).Because(uint32(e.last.Outcome)).Tagged(e.last.Tag)
	}
	for at, name := range e.names {
		if name == say {
			return policy.To(uint32(at)).Because(1).Or(uint32(at) + 1)
		}
	}
	return policy.Fallback()
}

// Completed remembers how the last request ended.
func (e *echo) Completed(report feedback.Report) { e.last = report }
