package dnsproxy

import (
	"fmt"
	"strconv"
	"strings"
)

// Record types that the code treats by name (IANA, DNS parameters).
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typePTR   = 12
	typeMX    = 15
	typeTXT   = 16
	typeRP    = 17
	typeAAAA  = 28
	typeSRV   = 33
	typeNAPTR = 35
	typeDNAME = 39
	typeOPT   = 41
	typeSVCB  = 64
	typeHTTPS = 65
)

// typeNames are the types that a document may allow by name. The data of each
// either holds no compressed name or is rewritten by appendData.
var typeNames = map[uint16]string{
	typeA: "A", typeNS: "NS", typeCNAME: "CNAME", typeSOA: "SOA", typePTR: "PTR",
	13: "HINFO", typeMX: "MX", typeTXT: "TXT", typeRP: "RP", typeAAAA: "AAAA", 29: "LOC",
	typeSRV: "SRV", typeNAPTR: "NAPTR", 37: "CERT", typeDNAME: "DNAME", 43: "DS", 44: "SSHFP", 46: "RRSIG", 47: "NSEC",
	48: "DNSKEY", 50: "NSEC3", 51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA",
	59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", typeSVCB: "SVCB",
	typeHTTPS: "HTTPS", 99: "SPF", 256: "URI", 257: "CAA",
}

// DefaultTypes are the query types that are allowed if a document names none.
var DefaultTypes = []string{"A", "AAAA", "CNAME", "HTTPS"}

// refusedType says why a type cannot be allowed, or is empty.
func refusedType(t uint16) string {
	switch {
	case t == 0, t == typeOPT, t >= 128 && t <= 255:
		// Transfers, ANY, TSIG: not questions about one record set.
		return "is not a type of record"
	case t == 3, t == 4, t >= 7 && t <= 9, t == 14, t == 18, t == 21,
		t == 24, t == 26, t == 30, t == 36:
		// Types whose data may hold compressed names (RFC 3597, section 4).
		return "is not supported"
	}
	return ""
}

// parseType is the number of a type given by name or as TYPE123 (RFC 3597).
func parseType(s string) (uint16, error) {
	for t, name := range typeNames {
		if name == s {
			return t, nil
		}
	}
	if digits, ok := strings.CutPrefix(s, "TYPE"); ok {
		if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
			if why := refusedType(uint16(n)); why != "" {
				return 0, fmt.Errorf("query type %q %s", s, why)
			}
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("query type %q is unknown or cannot be allowed: use a type such as \"A\" or \"HTTPS\"", s)
}

// metaNames are shown in verdicts and can never be allowed.
var metaNames = map[uint16]string{
	typeOPT: "OPT", 249: "TKEY", 250: "TSIG",
	251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA", 255: "ANY",
}

// typeName is the name of a type as a verdict shows it.
func typeName(t uint16) string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	if name, ok := metaNames[t]; ok {
		return name
	}
	return "TYPE" + strconv.Itoa(int(t))
}
