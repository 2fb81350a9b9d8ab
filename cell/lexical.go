package cell

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Each check returns the rule that its text breaks, or "". The pattern beside
// it is what a JSON Schema can say of the same rule, in the syntax that RE2
// and ECMA-262 share.

const (
	patternID        = `^[A-Za-z0-9](\.?[A-Za-z0-9_-])*\.?$`
	patternSecretRef = `^[A-Za-z0-9_](\.?[A-Za-z0-9_-])*\.?$`
	patternDNSLabel  = `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	patternVariable  = `^[A-Za-z_][A-Za-z0-9_.-]*$`
	patternAbsolute  = `^/`
)

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// only reports whether s is made of the characters of set.
func only(s, set string) bool { return strings.Trim(s, set) == "" && !containsOther(s, set) }

func containsOther(s, set string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return !strings.ContainsRune(set, c) }) >= 0
}

func portable(s, first string) string {
	switch {
	case s == "" || !strings.Contains(first, s[:1]):
		return "must start with a letter or a digit"
	case containsOther(s, letters+digits+"._-"):
		return `may hold letters, digits, ".", "_" and "-" only`
	case strings.Contains(s, ".."):
		return `must not contain ".."`
	}
	return ""
}

// checkID is a portable identifier: it is safe as a file name, a cgroup name
// and a part of a URN.
func checkID(s string) string { return portable(s, letters+digits) }

// checkSecretRef is a portable identifier that may start with "_", as names of
// variables do.
func checkSecretRef(s string) string { return portable(s, letters+digits+"_") }

// checkTenant is one token of a NATS subject.
func checkTenant(s string) string {
	for _, c := range s {
		if c == '.' || c == '*' || c == '>' || unicode.IsSpace(c) || unicode.IsControl(c) {
			return `must be one NATS subject token: no ".", "*", ">" or white space`
		}
	}
	return ""
}

func checkDNSLabel(s string) string {
	if s == "" || containsOther(s, "abcdefghijklmnopqrstuvwxyz"+digits+"-") || s[0] == '-' || s[len(s)-1] == '-' {
		return `must be a DNS label: lower-case letters, digits and "-", no "-" at its ends (RFC 1123)`
	}
	return ""
}

func checkVariable(s string) string {
	if s == "" || containsOther(s, letters+digits+"_.-") || !strings.Contains(letters+"_", s[:1]) {
		return `must be the name of a variable: letters, digits, "_", "." and "-", not starting with a digit`
	}
	return ""
}

func checkLabel(s string) string {
	if n := utf8.RuneCountInString(s); n < 1 || n > 128 {
		return "the name of a label has 1 to 128 characters"
	}
	return ""
}

// checkArgument keeps only the rule that every text keeps: no NUL.
func checkArgument(string) string { return "" }

// maxPath is the longest path that the kernel takes (PATH_MAX without the NUL).
const maxPath = 4095

// checkPath is an absolute path in its shortest form.
func checkPath(s string) string {
	switch {
	case s[0] != '/':
		return "must be an absolute path"
	case s == "/":
		return ""
	}
	for part := range strings.SplitSeq(s[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return `must be a path without "//", "." and "..", and without "/" at its end`
		}
	}
	return ""
}

// within reports whether the path s is dir or lies in it.
func within(s, dir string) bool {
	return s == dir || dir == "/" || strings.HasPrefix(s, dir) && s[len(dir)] == '/'
}

// kernelViews are host directories whose content is the running system, not
// files. None of them may be given to a cell.
var kernelViews = [...]string{"/proc", "/sys", "/dev", "/run"}

func checkHostPath(s string) string {
	if broken := checkPath(s); broken != "" {
		return broken
	}
	for _, dir := range kernelViews {
		if within(s, dir) || within(dir, s) {
			return "must not be, contain or lie in /proc, /sys, /dev or /run of the host"
		}
	}
	return ""
}

// freshViews are the directories that every cell gets anew.
var freshViews = [...]string{"/proc", "/sys", "/dev", "/run/secrets"}

func checkTarget(s string) string {
	if broken := checkPath(s); broken != "" {
		return broken
	}
	for _, dir := range freshViews {
		if within(s, dir) || within(dir, s) {
			return "must not be, contain or lie in /proc, /sys, /dev or /run/secrets, which every cell has of its own"
		}
	}
	return ""
}

func checkWorkingDirectory(s string) string {
	if broken := checkPath(s); broken != "" {
		return broken
	}
	if s == "/" {
		return "must not be the root directory"
	}
	for _, dir := range freshViews {
		if within(s, dir) {
			return "must not lie in /proc, /sys, /dev or /run/secrets"
		}
	}
	return ""
}

// checkRelative is a path below a directory, in its shortest form.
func checkRelative(s string) string {
	if s[0] == '/' {
		return "must be a relative path"
	}
	return checkPath("/" + s)
}

// checkArtifactPath is a path in the cell, absolute or below its working
// directory.
func checkArtifactPath(s string) string {
	if s[0] == '/' {
		return checkPath(s)
	}
	return checkRelative(s)
}

// maxUID is the last id but one of the block of 65,536 that a cell has: the
// last is its init's.
const maxUID = 65534

const ruleUser = "must be uid, uid:gid (0 to 65534) or the name of a user"

func checkUser(s string) string {
	if s[0] >= '0' && s[0] <= '9' {
		uid, gid, both := strings.Cut(s, ":")
		for _, id := range [...]string{uid, gid} {
			if id == gid && !both {
				break
			}
			if v, err := strconv.ParseUint(id, 10, 32); err != nil || v > maxUID {
				return ruleUser
			}
		}
		return ""
	}
	if containsOther(s, letters+digits+"_-") || s[0] == '-' {
		return ruleUser
	}
	return ""
}

func checkHTTPS(s string) string {
	if !isURL(s, "https") {
		return "must be an https:// URL without user information"
	}
	return ""
}

func checkHTTPURL(s string) string {
	if !isURL(s, "http") && !isURL(s, "https") {
		return "must be an http:// or https:// URL without user information"
	}
	return ""
}

func isURL(s, scheme string) bool {
	u, err := url.Parse(s)
	return err == nil && strings.HasPrefix(s, scheme+"://") && u.Host != "" && u.User == nil
}

func checkServerName(s string) string {
	if _, err := NormalizeHost(s); err != nil {
		return err.Error()
	}
	return ""
}

// checkResponseRange is an address or a prefix that a name may lead into.
func checkResponseRange(s string) string {
	prefix, broken := parsePrefix(s)
	if broken != "" {
		return broken
	}
	if r, ok := rangeOf(prefix); ok && r.never {
		return "no name may lead to " + r.what
	}
	return ""
}

// parsePrefix reads an address or a CIDR prefix in the form in which routers
// write it.
func parsePrefix(s string) (p netip.Prefix, broken string) {
	const rule = "must be an IP address or a CIDR prefix"
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return p, rule
		case p.Addr().Is4In6():
			return p, ruleMapped
		case p != p.Masked():
			return p, "has bits set outside its prefix; write " + p.Masked().String()
		}
		return p, ""
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return p, rule
	case a.Zone() != "":
		return p, "an address with a zone has no meaning in a cell"
	case a.Is4In6():
		return p, ruleMapped
	}
	return netip.PrefixFrom(a, a.BitLen()), ""
}

const ruleMapped = "is an IPv4 address in IPv6 form; write the IPv4 address"
