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

// Summed is a Counted observation with quantities that add up.
type Summed interface {
	Counted
	// Add is the observation with the quantities of another one added.
	Add(Counted) Counted
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

// L7EgressDecision is what was decided about a connection of a cell, before
// anything of it was passed on.
type L7EgressDecision struct {
	Action      string `json:"action"` // allow or deny
	ReasonCode  string `json:"reasonCode"`
	Destination string `json:"destination"` // as the workload sees it
	Name        string `json:"name,omitempty"`
	SNI         string `json:"sni,omitempty"`
	Host        string `json:"host,omitempty"`
	RuleIndex   *int   `json:"ruleIndex,omitempty"` // in spec.authority.egressRules
	Tally
}

// EventType implements Data.
func (L7EgressDecision) EventType() string { return TypePrefix + "observability.v1.l7_egress_decision" }

// WithTally implements Counted.
func (d L7EgressDecision) WithTally(t Tally) Data {
	d.Tally = t
	return d
}

// Overflow implements Counted.
func (d L7EgressDecision) Overflow() Counted {
	return L7EgressDecision{Action: d.Action, ReasonCode: ReasonRateLimited}
}

// NetworkFlowDecision is a flow of a cell that has ended, or a packet that its
// firewall refused. The source port is that of the first of its flows.
type NetworkFlowDecision struct {
	Protocol    string `json:"protocol"`
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"` // as the workload sees it
	Name        string `json:"name,omitempty"`
	Upstream    string `json:"upstream,omitempty"` // the address that was dialled
	RuleIndex   *int   `json:"ruleIndex,omitempty"`
	Action      string `json:"action"` // allow or deny
	ReasonCode  string `json:"reasonCode"`
	// BytesSent and BytesReceived are of the workload; Packets are counted
	// where the firewall decided.
	BytesSent      int64  `json:"bytesSent"`
	BytesReceived  int64  `json:"bytesReceived"`
	Packets        int64  `json:"packets,omitempty"`
	DurationMicros int64  `json:"durationMicros"`
	Errno          string `json:"errno,omitempty"`
	Tally
}

// EventType implements Data.
func (NetworkFlowDecision) EventType() string {
	return TypePrefix + "observability.v1.network_flow_decision"
}

// WithTally implements Counted.
func (d NetworkFlowDecision) WithTally(t Tally) Data {
	d.Tally = t
	return d
}

// Overflow implements Counted.
func (d NetworkFlowDecision) Overflow() Counted {
	return NetworkFlowDecision{
		Protocol: d.Protocol, Action: d.Action, ReasonCode: ReasonRateLimited,
		BytesSent: d.BytesSent, BytesReceived: d.BytesReceived, Packets: d.Packets, DurationMicros: d.DurationMicros,
	}
}

// Add implements Summed.
func (d NetworkFlowDecision) Add(other Counted) Counted {
	o, ok := other.(NetworkFlowDecision)
	if !ok {
		return d
	}
	d.BytesSent += o.BytesSent
	d.BytesReceived += o.BytesReceived
	d.Packets += o.Packets
	d.DurationMicros += o.DurationMicros
	return d
}
