// Package version says which build this is.
package version

import (
	"fmt"
	"runtime"
)

// Set by the linker.
var revision = "unknown"

// Revision is the source revision of the build, "unknown" for one made
// without the Makefile.
func Revision() string { return revision }

// String is one line for --version and for bug reports.
func String() string {
	return fmt.Sprintf("cellos %s (%s, %s/%s)", revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
