package event

// A Tally says how often something was observed. The counts of all events with
// one key add up to the number of observations.
type Tally struct {
	Count     int64     `json:"count"`
	FirstTime Timestamp `json:"firstTime"`
	LastTime  Timestamp `json:"lastTime"`
}

// A Counted observation repeats too often to be one event each time.
type Counted interface {
	Data
	// WithTally is the same observation for the given number of times.
	WithTally(Tally) Data
	// Overflow stands for observations that were too many to be told apart.
	// It keeps the decision, and the reason code is ReasonRateLimited.
	Overflow() Counted
}

// Decisions of an observation.
const (
	Allow = "allow"
	Deny  = "deny"
)

// ReasonRateLimited marks an aggregate of observations whose names are not
// recorded one by one.
const ReasonRateLimited = "rate_limited"

// DNSQuery is one decision of a cell's resolver.
type DNSQuery struct {
	QueryName          string       `json:"queryName"`
	QueryType          string       `json:"queryType"`
	Decision           string       `json:"decision"`
	ReasonCode         string       `json:"reasonCode"`
	ResponseRcode      int          `json:"responseRcode"`
	UpstreamResolverID string       `json:"upstreamResolverId,omitempty"`
	Answers            List[string] `json:"answers"`
	BoundAddress       string       `json:"boundAddress,omitempty"`
	DurationMicros     int64        `json:"durationMicros"`
	Transport          string       `json:"transport"` // udp or tcp
	Tally
}

// EventType implements Data.
func (DNSQuery) EventType() string { return TypePrefix + "observability.v1.dns_query" }

// WithTally implements Counted.
func (q DNSQuery) WithTally(t Tally) Data {
	q.Tally = t
	return q
}

// Overflow implements Counted.
func (q DNSQuery) Overflow() Counted {
	return DNSQuery{Decision: q.Decision, ReasonCode: ReasonRateLimited}
}
