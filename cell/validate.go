package cell

import "strings"

// validator checks the rules between fields. It also runs over documents whose
// fields are wrong on their own, so that all errors come at once: a value that
// broke its own rule is left out of the comparison.
type validator struct {
	*problems
	root *node
}

func validate(doc *Document, p *problems) {
	v := validator{problems: p, root: doc.source.root}
	spec := (*path)(nil).field("spec")
	s := &doc.Spec
	v.secrets(s, spec)
	v.environment(s.Environment, spec.field("environment"))
	v.egress(s.Authority.EgressRules, s.Authority.DNSAuthority.blocksDirect(), s.Authority.DNSAuthority.real(),
		spec.field("authority").field("egressRules"))
	v.dns(s.Authority.DNSAuthority, s.Authority.EgressRules, spec.field("authority"))
	v.mounts(s.Authority.Filesystem, spec.field("authority").field("filesystem").field("mounts"))
	v.run(s, spec.field("run"))
	v.export(s.Export, spec.field("export"))
}

// wrong notes that the value at a path breaks a rule. Where the value is
// absent, the place is that of what should hold it.
func (v validator) wrong(at *path, rule string) {
	if len(v.list) == maxErrors {
		v.omitted++ // not worth a search
		return
	}
	found, nearest := v.root.find(at.String())
	value := ""
	if found != nil {
		value = found.shown()
	}
	v.add(nearest.at, at, value, rule)
}

// exclusive reports two fields of one object that exclude each other.
func (v validator) exclusive(typ string, at *path) {
	object, _ := v.root.find(at.String())
	for _, e := range exclusive {
		if e.typ == typ && object.get(e.a) != nil && object.get(e.b) != nil {
			v.wrong(at.field(e.b), "excludes "+at.field(e.a).String()+": "+e.why)
		}
	}
}

// secrets checks that each name a workload finds has one source.
func (v validator) secrets(s *Spec, spec *path) {
	declared := make(map[string]*path, len(s.Authority.SecretRefs))
	for i, ref := range s.Authority.SecretRefs {
		if declared[ref] == nil {
			declared[ref] = spec.field("authority").field("secretRefs").at(i)
		}
	}
	if id := s.Identity; id != nil && declared[id.SecretRef] != nil {
		v.wrong(spec.field("identity").field("secretRef"),
			"is also "+declared[id.SecretRef].String()+"; a name has one source")
	}
	if s.Environment == nil {
		return
	}
	for name := range s.Environment.Vars {
		if where := declared[name]; where != nil {
			// Its value is not shown: it may be the secret.
			at := spec.field("environment").field("vars").key(name)
			_, nearest := v.root.find(at.String())
			v.add(nearest.at, at, "", "is also "+where.String()+"; a name has one source")
		}
	}
}

func (v validator) environment(e *Environment, at *path) {
	if e == nil {
		return
	}
	v.exclusive("Environment", at)
	image := e.Image != "" || e.Rootfs != ""
	switch {
	case e.Base == "none" && !image:
		v.wrong(at.field("base"), "leaves the cell without any file; declare image or rootfs, or leave base out")
	case e.Base == "system" && image:
		v.wrong(at.field("base"), "cannot be added to an image or rootfs; leave base out")
	}
}

func (v validator) mounts(fs *Filesystem, at *path) {
	if fs == nil {
		return
	}
	// The first target at or below each path.
	below := make(map[string]int)
	for i, m := range fs.Mounts {
		where := at.at(i)
		if len(m.Protect) > 0 && (m.ReadOnly == nil || *m.ReadOnly) {
			v.wrong(where.field("protect"), "protects nothing in a mount that is read-only; add readOnly: false")
		}
		if m.Target == "" || len(m.Target) > maxPath || checkTarget(m.Target) != "" {
			continue
		}
		if j, hidden := below[m.Target]; hidden {
			v.wrong(where.field("target"), "hides "+at.at(j).field("target").String()+" ("+quote(fs.Mounts[j].Target)+")")
			continue
		}
		for dir := m.Target; dir != ""; dir = dir[:strings.LastIndexByte(dir, '/')] {
			if _, known := below[dir]; !known {
				below[dir] = i
			}
		}
	}
}

func (v validator) run(s *Spec, at *path) {
	r := s.Run
	if r == nil {
		return
	}
	v.exclusive("Run", at)
	if len(r.Argv) > 0 && r.Argv[0] == "" {
		v.wrong(at.field("argv").at(0), "must name a program")
	}
	ttl := s.Lifetime.TTLSeconds
	tooLong := func(ms *int64, unit int64) bool { return ms != nil && ttl > 0 && *ms > ttl*unit }
	const rule = "can never take effect: the cell ends at spec.lifetime.ttlSeconds"
	if tooLong(r.TimeoutMs, 1000) {
		v.wrong(at.field("timeoutMs"), rule)
	}
	if tooLong(r.TimeoutSeconds, 1) {
		v.wrong(at.field("timeoutSeconds"), rule)
	}
	if r.Phases == nil || r.Phases.Setup == nil {
		return
	}
	setup, where := r.Phases.Setup, at.field("phases").field("setup")
	if len(setup.Argv) > 0 && setup.Argv[0] == "" {
		v.wrong(where.field("argv").at(0), "must name a program")
	}
	if tooLong(setup.TimeoutMs, 1000) {
		v.wrong(where.field("timeoutMs"), rule)
	}
	dns := s.Authority.DNSAuthority
	v.egress(setup.EgressRules, dns.blocksDirect(), dns.real(), where.field("egressRules"))
	v.names(setup.HostnameAllowlist, where.field("hostnameAllowlist"))
	if setup.HostnameAllowlist != nil {
		allowed := setup.HostnameAllowlist
		if dns != nil {
			allowed = append(allowed[:len(allowed):len(allowed)], dns.HostnameAllowlist...)
		}
		v.covered(setup.EgressRules, allowed, where.field("egressRules"), where.field("hostnameAllowlist"))
	}
}

func (v validator) export(e *Export, at *path) {
	if e == nil {
		return
	}
	targets := make(map[string]bool, len(e.Targets))
	for i, t := range e.Targets {
		where := at.field("targets").at(i)
		if targets[t.Name] {
			v.wrong(where.field("name"), "is the name of two targets")
		}
		targets[t.Name] = true
		v.targetFields(t, where)
	}
	names := make(map[string]bool, len(e.Artifacts))
	for i, a := range e.Artifacts {
		where := at.field("artifacts").at(i)
		if a.Name != "" && names[a.Name] {
			v.wrong(where.field("name"), "is the name of two artifacts")
		}
		names[a.Name] = true
		if a.Target != "" && !targets[a.Target] {
			v.wrong(where.field("target"), "is not declared in "+at.field("targets").String())
		}
	}
}

// targetFields reports fields that another kind of target has.
func (v validator) targetFields(t ExportTarget, at *path) {
	for _, f := range [...]struct{ kind, name, value string }{
		{"local", "path", t.Path},
		{"http", "baseUrl", t.BaseURL},
		{"s3", "bucket", t.Bucket},
		{"s3", "prefix", t.Prefix},
		{"s3", "region", t.Region},
	} {
		known := strings.Contains("local http s3", t.Kind) && t.Kind != ""
		if f.value != "" && known && f.kind != t.Kind {
			v.wrong(at.field(f.name), "belongs to targets of kind "+f.kind)
		}
	}
}
