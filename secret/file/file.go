// Package file is the secret broker that reads files: the secret "npm-token"
// is the content of the file that CELLOS_SECRET_FILE_NPM_TOKEN names, without
// the line end that editors and echo(1) put behind it. It has nothing to
// revoke.
//
// Nothing that goes wrong shows what the variable holds: someone may have put
// the secret itself there.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/secret"
)

// Prefix starts the name of every variable that names a file.
const Prefix = "CELLOS_SECRET_FILE_"

// MaxBytes is the size of the largest secret.
const MaxBytes = 64 << 10

// Broker reads secrets from files that environment variables name.
type Broker struct {
	lookup func(string) (string, bool)
}

// New returns a broker over the given environment, usually os.LookupEnv.
func New(lookup func(string) (string, bool)) *Broker { return &Broker{lookup: lookup} }

// Name is the value of CELLOS_BROKER that selects this broker.
func (*Broker) Name() string { return "file" }

// Variable is the name of the variable that names the file of a secret.
func Variable(name string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// Resolve reads the file of every name. If any cannot be read it returns no
// lease, and an error for each.
func (b *Broker) Resolve(_ context.Context, _ string, names []string) (*secret.Lease, error) {
	lease := &secret.Lease{Values: make(map[string]secret.Value, len(names))}
	var errs []error
	for _, name := range names {
		value, err := b.read(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		lease.Values[name] = value
	}
	if len(errs) > 0 {
		lease.Wipe()
		return nil, errors.Join(errs...)
	}
	return lease, nil
}

// Revoke does nothing: a file cannot be revoked.
func (*Broker) Revoke(context.Context, string) error { return nil }

func (b *Broker) read(name string) (secret.Value, error) {
	variable := Variable(name)
	fail := func(cause error, remedy string) (secret.Value, error) {
		return secret.Value{}, &secret.Error{Broker: b.Name(), Name: name, Cause: cause, Remedy: remedy}
	}
	path, ok := b.lookup(variable)
	switch {
	case !ok:
		return fail(secret.ErrNotFound, "set "+variable+" to the path of a file that holds it")
	case !filepath.IsAbs(path):
		return fail(fmt.Errorf("%s is not an absolute path", variable), "write the path of a file from / on")
	}
	content, err := readFile(path)
	if err != nil {
		return fail(fmt.Errorf("the file that %s names: %w", variable, err), remedy(err))
	}
	return secret.New(content), nil
}

var (
	errNotRegular = errors.New("it is not a regular file")
	errTooLarge   = fmt.Errorf("it has more than %d bytes", MaxBytes)
)

func remedy(err error) string {
	switch {
	case errors.Is(err, unix.ELOOP):
		return "it is a symbolic link, which someone else could point elsewhere; name the file itself"
	case errors.Is(err, secret.ErrNotFound):
		return "check its path"
	case errors.Is(err, unix.EACCES):
		return "the supervisor must be able to read it"
	}
	return "name a regular file of that size at most"
}

// readFile reads a regular file, without a line end behind it. The last
// component of the path is not followed (O_NOFOLLOW, open(2)), and a FIFO does
// not keep us waiting (O_NONBLOCK).
func readFile(path string) ([]byte, error) {
	fd, err := openRetrying(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, secret.ErrNotFound
	case err != nil:
		return nil, err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	switch err := unix.Fstat(fd, &stat); {
	case err != nil:
		return nil, err
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, errNotRegular
	case stat.Size > MaxBytes:
		return nil, errTooLarge
	}
	// The file may grow while it is read. A buffer of its own size leaves no
	// copies behind, as one that is made larger step by step would.
	content := make([]byte, MaxBytes+1)
	n, err := io.ReadFull(reader(fd), content)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if n > MaxBytes {
		clear(content)
		return nil, errTooLarge
	}
	content = content[:n]
	if n > 0 && content[n-1] == '\n' {
		content = content[:n-1]
	}
	return content, nil
}

func openRetrying(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// reader reads a descriptor. An os.File would hand a copy of the path to every
// error.
type reader int

func (fd reader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
