package plan

import (
	"net/netip"
	"strconv"
	"strings"
)

// nobody is the id that stands for every user the cell does not know.
const nobody = 65534

// DefaultUser is who a workload is unless its document says otherwise.
var DefaultUser = User{UID: 1000, GID: 1000}

// An Identity is who the workload is, in the cell and outside.
type Identity struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Block says that the cell has 65,536 ids of the host that nobody else
	// has. Otherwise it has the caller's, who is the cell's user.
	Block bool `json:"block"`
	// As is a user of the host that the cell's user is, in place of one of
	// the block: the owner of a mount whose file system cannot map owners.
	As *User `json:"as,omitempty"`
}

// identity decides who the workload is, on a backend where that is a question.
func (c *compiler) identity() {
	if c.host.Files == nil {
		return
	}
	id := &Identity{UID: DefaultUser.UID, GID: DefaultUser.GID, Block: c.host.IDBlocks}
	c.plan.Identity = id
	if c.spec.Run == nil || c.spec.Run.User == "" {
		return
	}
	name := c.spec.Run.User
	if u, ok := c.userNamed(name); ok {
		id.UID, id.GID = u.UID, u.GID
		return
	}
	uid, gid, both := strings.Cut(name, ":")
	if !both {
		gid = uid
	}
	u, err := strconv.ParseUint(uid, 10, 32)
	if err == nil {
		id.UID = uint32(u)
		u, err = strconv.ParseUint(gid, 10, 32)
		id.GID = uint32(u)
	}
	if err != nil {
		c.refuse("spec.run.user", strconv.Quote(name)+" is not a user of the cell", "use uid or uid:gid, or one of the names in the cell's /etc/passwd: root, cell, nobody")
	}
}

// userNamed looks a name up in the passwd file that the cell will have.
func (c *compiler) userNamed(name string) (User, bool) {
	if env := c.spec.Environment; env != nil && env.Rootfs != "" {
		u, ok := c.host.Files.Users[name]
		return u, ok
	}
	switch name {
	case "root":
		return User{}, true
	case "cell":
		return DefaultUser, true
	case "nobody":
		return User{UID: nobody, GID: nobody}, true
	}
	return User{}, false
}

// ownAddresses are the addresses of the cell itself that are not loopback.
func (c *compiler) ownAddresses() []netip.Addr {
	n := c.plan.Network
	if n == nil {
		return nil
	}
	own := []netip.Addr{n.Own4}
	if n.Own6.IsValid() {
		own = append(own, n.Own6)
	}
	return own
}
