package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cellos.io/cellos/secret/file"
	"cellos.io/cellos/secret/secrettest"
)

// environment is one that tests fill.
type environment map[string]string

func (e environment) broker() *file.Broker {
	return file.New(func(name string) (string, bool) {
		v, ok := e[name]
		return v, ok
	})
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConformance(t *testing.T) {
	secrettest.Run(t, func(*testing.T) secrettest.Harness {
		env := environment{}
		return secrettest.Harness{
			Broker: env.broker(),
			Put:    func(t *testing.T, name, value string) { env[file.Variable(name)] = write(t, value) },
		}
	})
}

// One line end is the editor's; the others are the secret's.
func TestLineEnd(t *testing.T) {
	for content, want := range map[string]string{
		"value":                            "value",
		"value\n":                          "value",
		"value\n\n":                        "value\n",
		"two\nline":                        "two\nline",
		"\n":                               "",
		strings.Repeat("x", file.MaxBytes): strings.Repeat("x", file.MaxBytes),
	} {
		env := environment{file.Variable("token"): write(t, content)}
		lease, err := env.broker().Resolve(t.Context(), "cell", []string{"token"})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(lease.Values["token"].Reveal()); got != want {
			t.Errorf("%.20q is read as %.20q", content, got)
		}
	}
}

// What is no plain file is refused, with the variable to correct, and without
// what it holds.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	fifo, link, linkedDir := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "linked")
	real := write(t, "s3cr3t")
	for _, err := range []error{unix.Mkfifo(fifo, 0o600), os.Symlink(real, link), os.Symlink(filepath.Dir(real), linkedDir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ value, want string }{
		"missing":   {filepath.Join(dir, "gone"), "no such secret"},
		"relative":  {"s3cr3t", "absolute path"},
		"empty":     {"", "absolute path"},
		"directory": {dir, "regular file"},
		"device":    {"/dev/zero", "regular file"},
		"fifo":      {fifo, "regular file"}, // and does not block
		"link":      {link, "symbolic link"},
		"too large": {write(t, strings.Repeat("s3cr3t", file.MaxBytes/6+1)), "more than 65536 bytes"},
	} {
		env := environment{file.Variable("api-token"): c.value}
		lease, err := env.broker().Resolve(t.Context(), "cell", []string{"api-token"})
		if lease != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
			continue
		}
		if !strings.Contains(err.Error(), "api-token") || name != "missing" && !strings.Contains(err.Error(), "CELLOS_SECRET_FILE_API_TOKEN") {
			t.Errorf("%s: %v does not say what to correct", name, err)
		}
		if strings.Contains(err.Error(), "s3cr3t") || c.value != "" && strings.Contains(err.Error(), c.value) {
			t.Errorf("%s: %v shows what the variable or the file holds", name, err)
		}
	}
	env := environment{file.Variable("token"): filepath.Join(linkedDir, "secret")}
	if _, err := env.broker().Resolve(t.Context(), "cell", []string{"token"}); err != nil {
		t.Errorf("a directory on the way may be a link: %v", err)
	}
}
