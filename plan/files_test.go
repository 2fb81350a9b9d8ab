package plan_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellos.io/cellos/cell"
	"cellos.io/cellos/plan"
)

// nativeHost is a Debian on which every control is enforced.
func nativeHost() plan.Host {
	alice := plan.User{UID: 1001, GID: 1001}
	h := plan.Host{
		Profile: plan.Hardened, Backend: "native", Isolation: plan.Report{}, IDBlocks: true,
		Namespaces: plan.Namespaces{Net: true, Mnt: true, PID: true, IPC: true, UTS: true, User: true},
		Files: &plan.HostFiles{
			System: map[string]plan.HostPath{
				"/usr": {Public: true}, "/bin": {Link: "usr/bin", Public: true}, "/lib": {Link: "usr/lib", Public: true},
				"/opt-lib": {}, "/etc/localtime": {Link: "/usr/share/zoneinfo/UTC", Public: true},
				"/etc/ssl/certs":   {Link: "/var/lib/ca-certificates/pem", Public: true},
				"/etc/ld.so.cache": {Public: true}, "/etc/profile": {},
			},
			Mounts: map[string]plan.HostMount{
				"/home/alice/project": {
					Path: "/home/alice/project", ID: plan.FileID{Device: 1, Inode: 2}, Owner: alice, Type: "dir",
					Filesystem: "ext4", Mappable: plan.Enforced, Protected: []string{".git/hooks", ".git/config"},
					Below: []plan.HostMount{
						{Path: "/home/alice/project/cache", ID: plan.FileID{Device: 3, Inode: 4}, Type: "dir", Filesystem: "tmpfs", Mappable: plan.Unknown},
						{Path: "/home/alice/project/nfs", Type: "dir", Filesystem: "nfs", Mappable: plan.Unavailable},
					},
				},
				"/home/alice/notes.txt": {Path: "/home/alice/notes.txt", Owner: alice, Type: "file", Filesystem: "ext4", Mappable: plan.Enforced},
				"/home/alice/missing":   {Path: "/home/alice/missing", Err: "no such file or directory"},
				"/home/alice/socket":    {Path: "/home/alice/socket", Type: "socket"},
				"/home/alice/to-state":  {Path: "/var/lib/cellos/keys", Type: "dir"},
				"/overlay/root":         {Path: "/overlay/root", Type: "dir", Filesystem: "overlay", Mappable: plan.Unavailable},
				"/overlay/alice":        {Path: "/overlay/alice", Owner: alice, Type: "dir", Filesystem: "overlay", Mappable: plan.Unavailable},
				"/overlay/bob":          {Path: "/overlay/bob", Owner: plan.User{UID: 7, GID: 7}, Type: "dir", Filesystem: "overlay", Mappable: plan.Unavailable},
				"/images/one":           {Path: "/images/one", Type: "dir", Filesystem: "ext4", Mappable: plan.Enforced},
			},
			Missing: map[string]bool{"/usr/none": true, "/usr/none/there": true},
			Rootfs: map[string]plan.HostPath{
				"/usr": {}, "/bin": {Link: "usr/bin"}, "/etc": {}, "/etc/passwd": {}, "/etc/hosts": {}, "/proc": {}, "/var": {},
			},
			Users:     map[string]plan.User{"builder": {UID: 300, GID: 301}},
			Private:   []string{"/var/lib/cellos", "/run/cellos"},
			MachineID: strings.Repeat("0", 32),
		},
	}
	for _, name := range plan.Controls {
		h.Isolation[name] = plan.Control{State: plan.Enforced, By: "test"}
	}
	return h
}

// Each case is a document; what becomes of files, identity and limits is
// beside it, for a cell with ids of its own and for one without.
func TestFiles(t *testing.T) {
	for _, name := range []string{"system", "mounts", "workdir", "refused", "rootfs"} {
		path := filepath.Join("testdata", "files", name+".yaml")
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := cell.Parse(path, src)
		if err != nil {
			t.Fatal(err)
		}
		for suffix, blocks := range map[string]bool{"": true, "-rootless": false} {
			host := nativeHost()
			host.IDBlocks = blocks
			host.Isolation["cgroupMemory"] = plan.Control{State: plan.Unavailable, By: "no controller"}
			p, refusals := plan.Compile(doc, host)
			got, err := json.MarshalIndent(struct {
				Process  *plan.Process  `json:"process"`
				Identity *plan.Identity `json:"identity"`
				Files    *plan.FileView `json:"files"`
				Limits   *plan.Limits   `json:"limits"`
				Warnings []plan.Finding `json:"warnings"`
				Refusals []plan.Finding `json:"refusals"`
			}{p.Process, p.Identity, p.Files, p.Limits, p.Warnings, refusals}, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "files", name+suffix+".json"), append(got, '\n'))
		}
	}
}

// Whatever a document says, every path of the view is absolute and in its
// shortest form, and nothing of the host is there but what it or the list of
// the system names.
func TestFilesShowOnlyWhatIsDeclared(t *testing.T) {
	for _, name := range []string{"system", "mounts", "workdir", "rootfs"} {
		path := filepath.Join("testdata", "files", name+".yaml")
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := cell.Parse(path, src)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := plan.Compile(doc, nativeHost())
		for _, e := range p.Files.Entries {
			if !strings.HasPrefix(e.Target, "/") || filepath.Clean(e.Target) != e.Target || e.Why == "" {
				t.Errorf("%s: %+v", name, e)
			}
			switch e.Kind {
			case plan.KindSystem:
				if _, listed := nativeHost().Files.System[e.Source]; !listed || !e.ReadOnly {
					t.Errorf("%s: %+v", name, e)
				}
			case plan.KindMount:
				if !strings.HasPrefix(e.Source, "/home/alice/") && !strings.HasPrefix(e.Source, "/images/one/") {
					t.Errorf("%s: %+v", name, e)
				}
			}
		}
	}
}
