// Package policy is what a load-balancing policy of Wasmesh needs in Go: the contract's types, an interface to implement,
// and small helpers.
//
//	type anyone struct{ endpoints int }
//
//	func (a *anyone) Update(list policy.Update) error {
//		a.endpoints = len(list.Endpoints)
//		return nil
//	}
//
//	func (a *anyone) Pick(request *policy.Request) policy.Decision {
//		if a.endpoints == 0 {
//			return policy.Fallback()
//		}
//		return policy.To(uint32(policy.Below(request.Random, uint64(a.endpoints))))
//	}
//
//	func init() {
//		policy.Export(func(config string, about policy.About) (policy.Policy, policy.Plan, error) {
//			return &anyone{}, policy.Plan{}, nil
//		})
//	}
//
//	func main() {}
//
// [Levels] has what most policies share: priorities, and somebody else when the chosen endpoint is ejected. What each field
// means is said in policy.wit.
package policy

// Nothing is what the functions that ask for a number answer where there is none.
const Nothing = ^uint32(0)

// Policy is one instance of a policy. Calls to it never overlap.
type Policy interface {
	// Update takes the whole list of candidates, at once and then each time it changes. An error rejects the list.
	Update(update Update) error
	// Pick says who takes the request, which is valid for this call only. A pick has a budget of instructions, so it should
	// allocate little: garbage is collected with each update.
	Pick(request *Request) Decision
}

// New makes the instance: it reads the configuration, which is a JSON object, and says what the host is to prepare. An error
// is shown to whoever wrote the configuration.
type New func(config string, about About) (Policy, Plan, error)

// About says where the instance works, by name: zone, node, namespace, proxy, worker, workers, service, port.
type About map[string]string

// Update is a list of endpoints. A place in it is the endpoint's name in Pick and in the functions that ask for load.
type Update struct {
	Generation uint64
	NowMs      uint64
	Endpoints  []Endpoint
}

// Endpoint is one candidate.
type Endpoint struct {
	ID       uint64
	Address  string
	Weight   uint32
	Priority uint32
	Zone     string
	Node     string
	Health   Health
	ReadyMs  uint64
	Labels   []Label
}

// Label returns the value of a label, "" if the endpoint has none of this name.
func (e *Endpoint) Label(name string) string {
	for _, label := range e.Labels {
		if label.Name == name {
			return label.Value
		}
	}
	return ""
}

// Label is a name and its value.
type Label struct{ Name, Value string }

// Health is what was known of an endpoint when the list was made.
type Health uint8

// What is known of an endpoint's health.
const (
	Healthy Health = iota
	Degraded
	Draining
)

// Plan is what the host is to prepare.
type Plan struct {
	// Keys are words whose hashes come with each request, at most 4.
	Keys []string
	// Wants are whatever else the policy will ask for, at most 16.
	Wants []string
	// Reasons are names for [Decision.Because], at most 16.
	Reasons []string
}

// Request is what a pick is for.
type Request struct {
	// Keys are the hashes of what the plan's keys name, 0 where there is nothing.
	Keys [4]uint64
	// Random has 64 random bits, fresh for each pick.
	Random uint64
	// NowMs is a monotonic clock in milliseconds.
	NowMs uint64
	// Attempt counts retries.
	Attempt uint32
	avoids  bool
	avoid   uint32
	traits  uint8
}

// Avoids says whether this is the endpoint on which the request has just failed.
func (r *Request) Avoids(endpoint uint32) bool { return r.avoids && r.avoid == endpoint }

// Avoid returns the endpoint on which the request has just failed, if it has.
func (r *Request) Avoid() (endpoint uint32, failed bool) { return r.avoid, r.avoids }

// HasKey says whether the request has what the plan's key of this number names.
func (r *Request) HasKey(number int) bool { return number < 4 && r.traits>>number&1 == 1 }

// IsRetry says whether the request has been tried before.
func (r *Request) IsRetry() bool { return r.traits>>4&1 == 1 }

// IsHTTP is unset for plain TCP, where a pick is for a whole connection.
func (r *Request) IsHTTP() bool { return r.traits>>5&1 == 1 }

// IsGRPC says whether the request is one of gRPC.
func (r *Request) IsGRPC() bool { return r.traits>>6&1 == 1 }

// IsTLS says whether the client speaks TLS, so that only its address and the name it asks for are known.
func (r *Request) IsTLS() bool { return r.traits>>7&1 == 1 }

// Decision is the answer of a pick. [To], [Fallback], [Reject] and [Hold] make one.
type Decision struct {
	kind      uint32
	value     uint32
	alternate uint32
	hasOther  bool
	reason    uint32
	tag       uint64
}

// To sends the request to the endpoint at this place in the list.
func To(endpoint uint32) Decision { return Decision{kind: 0, value: endpoint} }

// Fallback leaves the request to the built-in policy.
func Fallback() Decision { return Decision{kind: 1} }

// Reject answers with this HTTP status, 400 to 599, where the policy object allows it.
func Reject(status uint16) Decision { return Decision{kind: 2, value: uint32(status)} }

// Hold asks to be asked again in so many milliseconds, at most 1000, where the policy object allows it.
func Hold(ms uint32) Decision { return Decision{kind: 3, value: ms} }

// Because says why: an index into [Plan.Reasons].
func (d Decision) Because(reason uint32) Decision {
	d.reason = reason
	return d
}

// Or says whom to try next if no connection to the chosen one can be made.
func (d Decision) Or(alternate uint32) Decision {
	d.alternate, d.hasOther = alternate, true
	return d
}

// Tagged gives the decision a number that comes back in the report of how the request ended.
func (d Decision) Tagged(tag uint64) Decision {
	d.tag = tag
	return d
}
