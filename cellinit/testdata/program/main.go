// Command program links what the core binary does, and more.
package main

import (
	"net"
	"os"
	"regexp"
	"text/template"
	"time"

	_ "cellos.io/cellos/cellinit"
)

var linked = []any{net.LookupHost, regexp.MustCompile("x"), template.New("x"), time.Now}

func main() {
	if len(linked) > 0 {
		os.Stderr.WriteString("main\n")
	}
}
