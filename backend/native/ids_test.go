package native

import (
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBlocks: no two cells have the same ids, and a block is free when the
// last copy of its descriptor is closed.
func TestBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cellos", "ids")
	take := func() *block {
		t.Helper()
		b, err := takeBlock(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, second := take(), take()
	if first.first != firstID || second.first != firstID+blockSize {
		t.Errorf("blocks at %#x and %#x", first.first, second.first)
	}
	// As PID 1 has it.
	copied, err := unix.FcntlInt(first.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	first.file.Close()
	third := take()
	if third.first != firstID+2*blockSize {
		t.Errorf("a block that a cell still has was given away: %#x", third.first)
	}
	syscall.Close(copied)
	again := take()
	if again.first != firstID {
		t.Errorf("a block that is free was not taken: %#x", again.first)
	}
	for _, b := range []*block{second, third, again} {
		b.file.Close()
	}
}

func TestMaps(t *testing.T) {
	b := &block{first: 0x70010000}
	owner := uint32(501)
	for _, test := range []struct {
		inside uint32
		as     *uint32
		want   []syscall.SysProcIDMap
	}{
		{1000, nil, []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0x70010000, Size: 65536}}},
		{1000, &owner, []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: 0x70010000, Size: 1000}, {ContainerID: 1000, HostID: 501, Size: 1},
			{ContainerID: 1001, HostID: 0x70010000 + 1001, Size: 65536 - 1001},
		}},
		{0, &owner, []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: 501, Size: 1}, {ContainerID: 1, HostID: 0x70010001, Size: 65535},
		}},
	} {
		got := b.maps(test.inside, test.as)
		if len(got) != len(test.want) {
			t.Errorf("%d: %v", test.inside, got)
			continue
		}
		inside := 0
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%d: %v, want %v", test.inside, got[i], test.want[i])
			}
			if got[i].ContainerID != inside {
				t.Errorf("%d: a gap before %v", test.inside, got[i])
			}
			inside += got[i].Size
		}
		if inside != blockSize {
			t.Errorf("%d: %d ids", test.inside, inside)
		}
	}
}
