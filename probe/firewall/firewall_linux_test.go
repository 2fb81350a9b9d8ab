package firewall_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellos.io/cellos/internal/testenv"
	"cellos.io/cellos/probe"
	"cellos.io/cellos/probe/firewall"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// TestThisHost: where nft(8) can do the like, the ability works.
func TestThisHost(t *testing.T) {
	for range 3 { // what one leaves would be in the way of the next
		p := probe.New(append(probe.Abilities(probe.Options{}), firewall.Ability())...)
		p.Timeout = time.Minute
		r := p.Run(t.Context(), firewall.Name)[0]
		t.Logf("%+v", r)
		if r.Answer == probe.Unknown {
			t.Errorf("could not be told: %s", r.Detail)
		}
		if r.Answer != probe.Works && nftWorks(t) {
			t.Errorf("nft(8) can, the answer is %+v", r)
		}
	}
}

// nftWorks reports whether nft(8) can load the rarer statements.
func nftWorks(t *testing.T) bool {
	t.Helper()
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return false
	}
	cmd := exec.Command(unshare, "--user", "--map-root-user", "--net", "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet t {
		chain c {
			type filter hook prerouting priority mangle
			meta l4proto tcp tproxy ip to 127.0.0.1:1
			log group 1
		}
		chain d {
			reject with icmpx admin-prohibited
		}
	}`)
	out, err := cmd.CombinedOutput()
	t.Logf("nft: %v %s", err, out)
	return err == nil
}

func TestAsOrdinaryUser(t *testing.T) {
	testenv.Need(t, "root")
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestThisHost$", "-test.v")
	dir, err := os.MkdirTemp("", "user")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkFirewall(b *testing.B) {
	for b.Loop() {
		if r := firewall.Ability().Try(b.Context()); r.Answer != probe.Works {
			b.Fatal(r)
		}
	}
}
