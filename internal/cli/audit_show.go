package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cellos.io/cellos/event"
	"cellos.io/cellos/internal/console"
	"cellos.io/cellos/journal"
)

type showOptions struct {
	env    *Env
	files  []string
	types  []string
	run    string
	output string

	damaged int
}

func newAuditShowCmd(env *Env) *cobra.Command {
	o := &showOptions{env: env}
	cmd := &cobra.Command{
		Use:   "show [FILE…]",
		Short: "Read a trail",
		Long: `Prints one line for each record: when, of which run, what, and its data. Without
FILE it reads the chain of this host and all its runs. FILE may be - for standard
input. Nothing is verified here: see cellos audit verify.

--type takes the end of a type, such as dns_query, or its beginning after
"dev.cellos.events.cell.", such as lifecycle.`,
		Example: `  cellos audit show events.jsonl
  cellos audit show --type dns_query --run 01a20c6e events.jsonl
  cellos audit show -o json events.jsonl | jq .data`,
		RunE: func(_ *cobra.Command, args []string) error {
			o.files = args
			return o.show()
		},
	}
	cmd.Flags().StringArrayVar(&o.types, "type", nil, "only events of this type")
	cmd.Flags().StringVar(&o.run, "run", "", "only runs whose id begins so")
	cmd.Flags().StringVarP(&o.output, "output", "o", "text", "text or json (one event per line, unwrapped)")
	return cmd
}

func (o *showOptions) show() error {
	if o.output != "text" && o.output != "json" {
		return unusable(fmt.Errorf("-o %s: must be text or json", o.output))
	}
	if len(o.files) == 0 {
		state := o.env.stateDir()
		paths, err := journal.RunPaths(state)
		if err != nil {
			return unusable(err)
		}
		o.files = append([]string{journal.HostPath(state)}, paths...)
	}
	for _, path := range o.files {
		if err := o.file(path); err != nil {
			return unusable(err)
		}
	}
	if o.damaged > 0 {
		return &ExitError{Code: exitTampered, Err: fmt.Errorf("%s not be read: see cellos audit verify", count(o.damaged, "line could", "lines could"))}
	}
	return nil
}

func (o *showOptions) file(path string) error {
	in := o.env.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	for lines := event.NewLines(in); ; {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var rec *event.Record
		if err == nil {
			rec, err = event.ParseRecord(line)
		}
		var fault *event.Fault
		if errors.As(err, &fault) {
			o.damaged++
			fault.File, fault.Line = path, lines.Num
			fmt.Fprintln(o.env.Stderr, console.Escape(fault.Error()))
			continue
		}
		if err != nil {
			return err
		}
		if !o.wanted(rec) {
			continue
		}
		if err := o.print(rec); err != nil {
			return err
		}
	}
}

func (o *showOptions) wanted(rec *event.Record) bool {
	if o.run != "" && !strings.HasPrefix(rec.Scope().RunID, o.run) {
		return false
	}
	suffix := event.Suffix(rec.Type)
	for _, t := range o.types {
		if rec.Type == t || strings.HasSuffix(suffix, t) || strings.HasPrefix(suffix, t) {
			return true
		}
	}
	return len(o.types) == 0
}

func (o *showOptions) print(rec *event.Record) error {
	if o.output == "json" {
		text, err := json.Marshal(struct {
			ID      string          `json:"id"`
			Source  string          `json:"source"`
			Subject string          `json:"subject,omitempty"`
			Time    string          `json:"time"`
			Type    string          `json:"type"`
			Chain   string          `json:"chain"`
			Seq     uint64          `json:"seq"`
			KID     string          `json:"kid,omitempty"`
			Digest  event.Digest    `json:"digest"`
			Data    json.RawMessage `json:"data"`
		}{rec.ID, rec.Source, rec.Subject, event.FormatTime(rec.Time), rec.Type, rec.Chain, rec.Seq, rec.KID, rec.Digest, rec.Data})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.env.Stdout, "%s\n", text)
		return err
	}
	_, err := fmt.Fprintf(o.env.Stdout, "%s  %s/%d  %s  %s\n",
		rec.Time.UTC().Format("2006-01-02 15:04:05.000"), word(short(rec.Chain)), rec.Seq,
		word(event.Suffix(rec.Type)), fields(rec.Data))
	return err
}

// short is enough of a chain id to tell runs apart: the end, because ids of
// one moment begin alike.
func short(chain string) string {
	if i := strings.LastIndexByte(chain, '-'); i >= 0 && i+1 < len(chain) {
		return chain[i+1:]
	}
	return chain
}

// maxField is how much of one value is shown.
const maxField = 120

// fields prints data as name=value, without the ids that every event has.
func fields(data json.RawMessage) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return ""
	}
	var out []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			break
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			break
		}
		switch name {
		case "specId", "cellId", "runId":
			continue
		}
		out = append(out, word(fmt.Sprint(name))+"="+field(value))
	}
	return strings.Join(out, " ")
}

func field(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		// Numbers, lists and objects: JSON as it is, but printable.
		return cut(console.Escape(string(value)))
	}
	return word(cut(text))
}

func cut(s string) string {
	if len(s) <= maxField {
		return s
	}
	return strings.ToValidUTF8(s[:maxField], "") + "…"
}

// word is s, quoted if it could be taken for more than one word or would not
// print as it is.
func word(s string) string {
	plain := s != ""
	for _, r := range s {
		if r == ' ' || r == '"' || r == '=' || !strconv.IsPrint(r) {
			plain = false
		}
	}
	if plain {
		return s
	}
	return strconv.Quote(s)
}
