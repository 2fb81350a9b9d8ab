package plan

// HostFiles are the facts of a host that a file view depends on.
type HostFiles struct {
	// System has what exists of SystemPaths, by path.
	System map[string]HostPath
	// Mounts has the source of every declared mount and rootfs, by the path
	// that the document has.
	Mounts map[string]HostMount
	// Missing are the paths of the document, below what a cell sees of the
	// system, that do not exist.
	Missing map[string]bool
	// Rootfs has the entries of a rootfs and of its etc, by path in it.
	Rootfs map[string]HostPath
	// Users are the users of a rootfs, by name.
	Users map[string]User
	// Private are directories of CellOS itself, of which nothing may be
	// mounted.
	Private []string
	// MachineID is random: 32 hexadecimal digits (machine-id(5)).
	MachineID string
}

// User is an entry of a passwd file.
type User struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// A HostPath is a path of the host as it was found.
type HostPath struct {
	// Link is the text of a symbolic link, or empty.
	Link string
	// Public is whether every user may read what is there.
	Public bool
}

// A HostMount is the source of a mount.
type HostMount struct {
	// Err is why it cannot be opened.
	Err string
	// Path is the source without symbolic links.
	Path  string
	ID    FileID
	Owner User
	// Type is "dir", "file", or what else it is.
	Type string
	// Filesystem is the type of file system that it is on.
	Filesystem string
	// Mappable is whether the file system can be mounted with its owners
	// mapped (mount_setattr(2)). Unknown is tried.
	Mappable State
	// Protected are those of the paths to protect that exist, relative to
	// the source, parents first.
	Protected []string
	// Below are the mounts below the source.
	Below []HostMount
}

// DefaultProtect are the paths that stay read-only in a writable mount unless
// the document names others: what git executes on the host.
var DefaultProtect = []string{".git/hooks", ".git/config"}
