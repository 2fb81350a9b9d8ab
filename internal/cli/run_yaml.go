package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"cellos.io/cellos/cell"
)

// formatYAML writes a document as YAML that cell.Parse reads as the same
// document. Texts are plain where that has one meaning only, and otherwise
// JSON strings, which YAML reads alike (YAML 1.2.2, section 7.3.1).
func formatYAML(doc *cell.Document) []byte {
	var src bytes.Buffer
	enc := json.NewEncoder(&src)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		panic("cli: a document always has a JSON form: " + err.Error())
	}
	dec := json.NewDecoder(&src)
	dec.UseNumber()
	w := yamlWriter{dec: dec}
	w.value(w.token(), 0, false)
	return w.out.Bytes()
}

// yamlWriter turns JSON tokens into YAML, in their order.
type yamlWriter struct {
	dec *json.Decoder
	out bytes.Buffer
}

func (w *yamlWriter) token() json.Token {
	t, err := w.dec.Token()
	if err != nil {
		panic("cli: encoding/json wrote what it cannot read: " + err.Error())
	}
	return t
}

// value writes what begins with a token. In a list, the first field of an
// object stands on the line of its "-".
func (w *yamlWriter) value(t json.Token, indent int, inList bool) {
	switch t {
	case json.Delim('{'):
		w.object(indent, inList)
	case json.Delim('['):
		w.list(indent)
	default:
		fmt.Fprintf(&w.out, " %s\n", scalar(t))
	}
}

func (w *yamlWriter) object(indent int, inList bool) {
	if !w.dec.More() {
		w.token()
		w.out.WriteString(" {}\n")
		return
	}
	if indent > 0 && !inList {
		w.out.WriteByte('\n')
	}
	for first := true; w.dec.More(); first = false {
		if first && inList {
			w.out.WriteByte(' ')
		} else {
			w.out.WriteString(strings.Repeat("  ", indent))
		}
		w.out.WriteString(scalar(w.token()) + ":")
		w.value(w.token(), indent+1, false)
	}
	w.token()
}

func (w *yamlWriter) list(indent int) {
	if !w.dec.More() {
		w.token()
		w.out.WriteString(" []\n")
		return
	}
	w.out.WriteByte('\n')
	for w.dec.More() {
		w.out.WriteString(strings.Repeat("  ", indent) + "-")
		w.value(w.token(), indent+1, true)
	}
	w.token()
}

func scalar(t json.Token) string {
	text, ok := t.(string)
	if !ok {
		return fmt.Sprint(t)
	}
	if isPlain(text) {
		return text
	}
	var quoted bytes.Buffer
	enc := json.NewEncoder(&quoted)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic("cli: a text always has a JSON form: " + err.Error())
	}
	// YAML allows no control characters, and JSON leaves DEL and those of
	// C1 as they are.
	var out strings.Builder
	for _, r := range strings.TrimSuffix(quoted.String(), "\n") {
		if r >= 0x7f && r <= 0x9f || r == 0xfeff {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// isPlain reports whether a text means itself in YAML without quotes, also to
// readers of older versions, which take "no" and "1_000" for something else.
func isPlain(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	switch strings.ToLower(s) {
	case "", "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return strings.Contains(letters+"/", s[:1]) && strings.Trim(s, letters+"0123456789/_.-") == ""
}
