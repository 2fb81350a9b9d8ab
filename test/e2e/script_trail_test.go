package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// readEvents reads a file of records, flat or wrapped, one by one.
func readEvents(path string) ([]trailEvent, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var events []trailEvent
	for n, line := range bytes.Split(bytes.TrimSuffix(content, []byte("\n")), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		e, err := decodeObject(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
		if inner, ok := lookUp(e, "data.event").(map[string]any); ok {
			e = inner
		}
		events = append(events, e)
	}
	return events, nil
}

func decodeObject(text []byte) (object map[string]any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return object, dec.Decode(&object)
}

// lookUp finds a value by its path, such as violations.0.path.
func lookUp(value any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// text is a value as a script writes it.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case nil:
		return ""
	}
	b, _ := json.Marshal(value)
	return string(b)
}

// holds is whether FIELD=VALUE, or FIELD~REGEXP, is true of an object.
func holds(object any, clause string) (bool, error) {
	at := strings.IndexAny(clause, "=~")
	if at < 1 {
		return false, fmt.Errorf("%q is neither FIELD=VALUE nor FIELD~REGEXP", clause)
	}
	got, want := text(lookUp(object, clause[:at])), clause[at+1:]
	if clause[at] == '=' {
		return got == want, nil
	}
	re, err := regexp.Compile(want)
	if err != nil {
		return false, err
	}
	return re.MatchString(got), nil
}

func (s *script) event(neg bool, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: [!] event FILE TYPE FIELD=VALUE…")
	}
	events, err := readEvents(s.ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	var similar []string
next:
	for _, e := range events {
		if kind := text(e["type"]); !strings.HasSuffix(kind, "."+args[1]) && !strings.HasPrefix(kind, "dev.cellos.events.cell."+args[1]) {
			continue
		}
		for _, clause := range args[2:] {
			ok, err := holds(map[string]any(e.data()), clause)
			if err != nil {
				return err
			}
			if !ok {
				similar = append(similar, text(map[string]any(e.data())))
				continue next
			}
		}
		if neg {
			return fmt.Errorf("there is such an event: %s", text(map[string]any(e.data())))
		}
		return nil
	}
	if neg {
		return nil
	}
	return fmt.Errorf("of %d events none is %s; of this type are:\n%s", len(events), strings.Join(args[1:], " "), strings.Join(similar, "\n"))
}

func (s *script) result(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: result FILE FIELD=VALUE…")
	}
	content, err := os.ReadFile(s.ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	object, err := decodeObject(content)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	for _, clause := range args[1:] {
		if ok, err := holds(object, clause); err != nil || !ok {
			return fmt.Errorf("%s is %s: not %s (%v)", args[0], content, clause, err)
		}
	}
	s.ts.Setenv("runId", text(object["runId"]))
	return nil
}

func (s *script) capture(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: capture NAME")
	}
	s.ts.Setenv(args[0], strings.TrimSpace(s.ts.ReadFile("stdout")))
	return nil
}

// trail checks the journal of the state directory.
func (s *script) trail(args []string) error {
	if len(args) < 1 || args[0] != "complete" && args[0] != "denied" {
		return errors.New("usage: trail complete|denied ARG…")
	}
	if err := s.exits(append([]string{"0", "cellos", "audit", "verify"}, args[1:]...)); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(s.ts.Getenv("CELLOS_STATE_DIR"), "journal", "runs", "*.jsonl"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("there is no run in the journal: %v", err)
	}
	for _, path := range paths {
		events, err := readEvents(path)
		if err != nil {
			return err
		}
		var types []string
		for _, e := range events {
			types = append(types, strings.TrimPrefix(text(e["type"]), "dev.cellos.events.cell."))
		}
		all := strings.Join(types, " ")
		if !strings.HasSuffix(all, "lifecycle.v1.destroyed evidence_bundle.v1.emitted") {
			return fmt.Errorf("%s ends otherwise: %s", path, all)
		}
		if args[0] == "denied" && (types[0] != "admission.v1.decided" || text(lookUp(events[0].data(), "verdict")) != "denied" ||
			strings.Contains(all, "lifecycle.v1.started")) {
			return fmt.Errorf("%s is not that of a cell that was denied: %s", path, all)
		}
	}
	return nil
}

// files are the regular files that runs of this script wrote.
func files(dirs ...string) (list []string, err error) {
	for _, dir := range dirs {
		walkErr := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				list = append(list, path)
			}
			return err
		})
		if walkErr != nil && !os.IsNotExist(walkErr) {
			return nil, walkErr
		}
	}
	return list, nil
}

func (s *script) nowhere(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: nowhere TEXT")
	}
	list, err := files(s.work)
	if err != nil {
		return err
	}
	for _, path := range list {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(content, []byte(args[0])) {
			return fmt.Errorf("%s has the text", path)
		}
	}
	return nil
}

func (s *script) empty(args []string) error {
	if len(args) < 1 {
		return errors.New("usage: empty DIR…")
	}
	for _, dir := range args {
		list, err := files(s.ts.MkAbs(dir))
		if err != nil {
			return err
		}
		if len(list) != 0 {
			return fmt.Errorf("in %s there are %v", dir, list)
		}
	}
	return nil
}

// dnsServer starts a resolver on UDP and TCP that answers A and logs what it
// is asked.
func (s *script) dnsServer(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: dnsserver NAME")
	}
	log, err := os.Create(filepath.Join(s.work, args[0]+".log"))
	if err != nil {
		return err
	}
	var mu sync.Mutex
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		q := r.Question[0]
		mu.Lock()
		fmt.Fprintln(log, strings.ToLower(q.Name), dns.TypeToString[q.Qtype], w.RemoteAddr().Network())
		mu.Unlock()
		m := new(dns.Msg).SetReply(r)
		m.RecursionAvailable = true
		if q.Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
				A:   net.IPv4(192, 0, 2, 1),
			}}
		}
		_ = w.WriteMsg(m)
	})
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		return err
	}
	servers := []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}}
	for _, server := range servers {
		go func() { _ = server.ActivateAndServe() }()
	}
	s.ts.Defer(func() {
		for _, server := range servers {
			_ = server.Shutdown()
		}
		udp.Close()
		tcp.Close()
		mu.Lock()
		defer mu.Unlock()
		log.Close()
	})
	s.ts.Setenv(args[0], tcp.Addr().String())
	return nil
}
