package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cellos.io/cellos/cell"
)

const (
	defaultTTL = "1h"
	cellHome   = "/home/cell"
	// cellPath is where a cell looks for programs by itself.
	cellPath = "/usr/local/bin:/usr/bin:/bin"
)

// program is a cell that flags describe.
type program struct {
	argv []string

	allow, secrets, mounts, tools, vars []string
	ttl, memory, name                   string

	flags []string // the names of the flags that describe it
}

// draft is the document that flags stand for, and what is known about it.
type draft struct {
	text []byte // YAML
	who  caller
	exe  executable
	name string // of the program, as the caller wrote it
	view view
	// workdir says what the cell sees of the caller's working directory.
	workdir visibility
	origin  origin
}

// origin is the flag that each part of a document came from, by its path.
type origin map[string]string

// flagOf is the flag that the value at a path came from.
func (o origin) flagOf(path string) string {
	for path != "" {
		if flag := o[path]; flag != "" {
			return flag
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return ""
}

// visibility is what a cell may do with a directory.
type visibility int

const (
	hidden visibility = iota
	readable
	writable
)

// drafter builds a document and remembers which flag each part is from.
type drafter struct {
	program
	who    caller
	doc    cell.Document
	tools  []tool
	errs   []error
	origin origin
}

// draft is the document that the flags stand for. Its errors name flags.
func (p program) draft(who caller) (*draft, error) {
	exe, err := who.find(p.argv[0])
	if err != nil {
		return nil, err
	}
	d := &drafter{program: p, who: who, origin: origin{}}
	d.doc = cell.Document{APIVersion: cell.APIVersion, Kind: cell.Kind}
	d.egress()
	d.doc.Spec.Authority.SecretRefs = p.secrets
	for i, name := range p.secrets {
		d.from(fmt.Sprintf("spec.authority.secretRefs[%d]", i), "--secret "+name)
	}
	mounts := d.mount()
	seen := slices.Clone(view(systemView))
	for _, m := range mounts {
		seen = append(seen, m.Target)
	}
	out := &draft{who: who, exe: exe, name: p.argv[0], view: seen, workdir: visible(who.dir, mounts), origin: d.origin}
	d.lifetime()
	d.run(exe, out)
	d.environment(seen)
	d.doc.Spec.ID = p.name
	if p.name == "" {
		d.doc.Spec.ID = defaultName(p.argv[0])
	} else {
		d.from("spec.id", "--name "+p.name)
	}
	if len(d.errs) > 0 {
		return nil, errors.Join(d.errs...)
	}
	out.text = formatYAML(&d.doc)
	_, err = cell.Parse(draftName, out.text)
	var invalid cell.Errors
	if errors.As(err, &invalid) {
		return nil, flagErrors(invalid, d.origin)
	}
	return out, nil
}

func (d *drafter) fail(flag string, err error) {
	d.errs = append(d.errs, fmt.Errorf("%s: %w", flag, err))
}

func (d *drafter) from(path, flag string) { d.origin[path] = flag }

// egress reads --allow HOST:PORT[/PROTOCOL].
func (d *drafter) egress() {
	seen := map[cell.EgressRule]bool{}
	for _, text := range d.allow {
		rule, err := parseAllow(text)
		if err != nil {
			d.fail("--allow "+text, err)
			continue
		}
		if seen[rule] {
			continue
		}
		seen[rule] = true
		d.from(fmt.Sprintf("spec.authority.egressRules[%d]", len(d.doc.Spec.Authority.EgressRules)), "--allow "+text)
		d.doc.Spec.Authority.EgressRules = append(d.doc.Spec.Authority.EgressRules, rule)
	}
}

func parseAllow(text string) (cell.EgressRule, error) {
	rule := cell.EgressRule{Protocol: cell.TCP}
	at := strings.LastIndexByte(text, ':')
	if at < 0 || strings.Count(text, ":") > 1 && text[0] != '[' {
		return rule, errors.New("write HOST:PORT, such as example.com:443 or [2001:db8::7]:443")
	}
	host, port := text[:at], text[at+1:]
	if number, protocol, ok := strings.Cut(port, "/"); ok {
		port, rule.Protocol = number, cell.Protocol(protocol)
	}
	n, err := strconv.ParseInt(port, 10, 64)
	if err != nil {
		return rule, fmt.Errorf("%q is no port: write HOST:PORT, such as example.com:443", port)
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	rule.Host, rule.Port = host, n
	return rule, nil
}

// mount reads --mount and --tool, and returns what is mounted, the directories
// before what lies in them.
func (d *drafter) mount() []cell.Mount {
	type mount struct {
		cell.Mount
		flag string
	}
	byTarget := map[string]mount{}
	for _, text := range d.mounts {
		path, mode, readOnly := text, "", true
		if i := strings.LastIndexByte(text, ':'); i >= 0 {
			path, mode = text[:i], text[i+1:]
		}
		switch mode {
		case "rw":
			readOnly = false
		case "", "ro":
		default:
			path = text // a colon of the path's own
		}
		target := d.who.abs(path)
		source, err := filepath.EvalSymlinks(target)
		if err != nil {
			d.fail("--mount "+text, cause(err))
			continue
		}
		// Who has added the flag that a hint named has both.
		if earlier, ok := byTarget[target]; ok && !*earlier.ReadOnly {
			readOnly = false
		}
		byTarget[target] = mount{cell.Mount{Source: source, Target: target, ReadOnly: &readOnly}, "--mount " + text}
	}
	seen := slices.Clone(view(systemView))
	for target := range byTarget {
		seen = append(seen, target)
	}
	for _, name := range d.program.tools {
		t, err := d.who.toolFor(name, seen)
		if err != nil {
			d.fail("--tool "+name, err)
			continue
		}
		d.tools = append(d.tools, t)
		if _, ok := byTarget[t.mount]; t.mount != "" && !ok {
			readOnly := true
			byTarget[t.mount] = mount{cell.Mount{Source: t.mount, Target: t.mount, ReadOnly: &readOnly}, "--tool " + name}
		}
	}
	if len(byTarget) == 0 {
		return nil
	}
	files := &cell.Filesystem{}
	targets := make([]string, 0, len(byTarget))
	for target := range byTarget {
		targets = append(targets, target)
	}
	slices.Sort(targets)
	for i, target := range targets {
		d.from(fmt.Sprintf("spec.authority.filesystem.mounts[%d]", i), byTarget[target].flag)
		files.Mounts = append(files.Mounts, byTarget[target].Mount)
	}
	d.doc.Spec.Authority.Filesystem = files
	d.from("spec.authority.filesystem", "--mount and --tool")
	return files.Mounts
}

// cause is what went wrong without the path, which the caller has written.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// visible says what a cell may do in a directory: what the innermost mount
// around it says.
func visible(dir string, mounts []cell.Mount) visibility {
	v, depth := hidden, -1
	for _, m := range mounts {
		if !within(dir, m.Target) || len(m.Target) <= depth {
			continue
		}
		v, depth = readable, len(m.Target)
		if !*m.ReadOnly {
			v = writable
		}
	}
	return v
}

func (d *drafter) lifetime() {
	ttl, err := time.ParseDuration(d.ttl)
	if err != nil || ttl <= 0 {
		d.fail("--ttl "+d.ttl, errors.New("write a time, such as 90s, 10m or 2h"))
		return
	}
	d.doc.Spec.Lifetime.TTLSeconds = int64((ttl + time.Second - 1) / time.Second)
	d.from("spec.lifetime", "--ttl "+d.ttl)
}

func (d *drafter) run(exe executable, out *draft) {
	r := &cell.Run{Argv: slices.Clone(d.argv)}
	// The name that the caller used counts, since programs look at it, unless
	// only what it links to can be seen.
	r.Argv[0] = exe.path
	if !out.view.sees(exe) && out.view.has(exe.real) {
		r.Argv[0] = exe.real
	}
	if out.workdir != hidden {
		r.WorkingDirectory = d.who.dir
		d.from("spec.run.workingDirectory", "--mount of your working directory")
	}
	if d.memory != "" {
		bytes, err := parseSize(d.memory)
		if err != nil {
			d.fail("--memory "+d.memory, err)
		}
		r.Limits = &cell.Limits{MemoryMaxBytes: &bytes}
		d.from("spec.run.limits.memoryMaxBytes", "--memory "+d.memory)
	}
	d.doc.Spec.Run = r
}

// units are suffixes of sizes, as powers of two: nobody means another million by
// the M of memory.
var units = map[string]uint{
	"": 0, "B": 0, "K": 10, "KB": 10, "KIB": 10, "M": 20, "MB": 20, "MIB": 20,
	"G": 30, "GB": 30, "GIB": 30, "T": 40, "TB": 40, "TIB": 40,
}

func parseSize(text string) (int64, error) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	shift, known := units[strings.ToUpper(text[digits:])]
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil || !known || n < 1 || n > math.MaxInt64>>shift {
		return 0, errors.New("write a size, such as 512M or 2G")
	}
	return n << shift, nil
}

// environment gives the program the variables that programs expect, and those
// of --env.
func (d *drafter) environment(seen view) {
	vars := map[string]string{
		"HOME": cellHome, "LANG": "C.UTF-8", "TMPDIR": "/tmp",
		"TERM": cmp.Or(d.who.term, "dumb"), "PATH": d.searchPath(seen),
	}
	for _, text := range d.vars {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			// What follows may be meant as a secret of the caller's.
			d.fail("--env "+name, errors.New("write NAME=VALUE; nothing of your environment is passed on"))
			continue
		}
		vars[name] = value
		d.from("spec.environment.vars."+name, "--env "+name)
		d.from(fmt.Sprintf("spec.environment.vars[%q]", name), "--env "+name)
	}
	d.doc.Spec.Environment = &cell.Environment{Vars: vars}
	d.from("spec.environment.vars", "--env")
}

// searchPath is where programs that the program starts are looked for: the
// tools, and what of the caller's PATH the cell sees.
func (d *drafter) searchPath(seen view) string {
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, t := range d.tools {
		add(t.bin)
	}
	for _, dir := range filepath.SplitList(d.who.path) {
		if filepath.IsAbs(dir) && seen.has(filepath.Clean(dir)) {
			add(filepath.Clean(dir))
		}
	}
	for _, dir := range filepath.SplitList(cellPath) {
		add(dir)
	}
	return strings.Join(dirs, ":")
}

// defaultName is the id of a cell that the caller gave none.
func defaultName(program string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, filepath.Base(program))
	for strings.Contains(clean, "..") {
		clean = strings.ReplaceAll(clean, "..", ".")
	}
	const most = 100
	return "run-" + clean[:min(len(clean), most)]
}
