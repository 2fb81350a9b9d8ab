package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const tamperUsage = `usage:
	tamper flip FILE LINE      change one letter of a value
	tamper drop FILE LINE
	tamper swap FILE LINE LINE
	tamper repeat FILE LINE    append a line again
	tamper cut FILE LINE       the file ends in the middle of this line
	tamper end FILE LINE       the file ends before this line
	tamper relink FILE LINE    drop a line, number and link the rest anew; the attacker has no key
	tamper rekey FILE          sign the whole chain with a key of the attacker's own`

// tamper changes a file of records as someone might who has it for himself.
func (s *script) tamper(args []string) error {
	if len(args) < 2 {
		return errors.New(tamperUsage)
	}
	how, path := args[0], s.ts.MkAbs(args[1])
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	lines = lines[:len(lines)-1] // what follows the last line end is nothing
	var at []int
	for _, arg := range args[2:] {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || n > len(lines) {
			return fmt.Errorf("%s has %d lines, not %s", path, len(lines), arg)
		}
		at = append(at, n-1)
	}
	if want := map[string]int{"swap": 2, "rekey": 0}; len(at) != 1 && len(at) != want[how] {
		return errors.New(tamperUsage)
	}
	switch how {
	case "flip":
		lines[at[0]] = bytes.Replace(lines[at[0]], []byte(`"specId":"c`), []byte(`"specId":"d`), 1)
	case "drop":
		lines = append(lines[:at[0]], lines[at[0]+1:]...)
	case "swap":
		lines[at[0]], lines[at[1]] = lines[at[1]], lines[at[0]]
	case "repeat":
		lines = append(lines, lines[at[0]])
	case "cut":
		lines = append(lines[:at[0]], lines[at[0]][:len(lines[at[0]])/2])
	case "end":
		lines = lines[:at[0]]
	case "relink":
		lines = relink(append(lines[:at[0]], lines[at[0]+1:]...), nil)
	case "rekey":
		lines = relink(lines, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	default:
		return errors.New(tamperUsage)
	}
	changed := bytes.Join(lines, nil)
	if bytes.Equal(changed, content) {
		return fmt.Errorf("%s %s changed nothing", how, path)
	}
	return os.WriteFile(path, changed, 0o600)
}

// relink numbers and links a chain anew, and signs it if there is a key. It
// works on the text: a record is canonical JSON with these members in it.
func relink(lines [][]byte, key ed25519.PrivateKey) [][]byte {
	prev := strings.Repeat("0", 64)
	out := make([][]byte, len(lines))
	for seq, line := range lines {
		text := replaceMember(string(line), "cellosprev", prev)
		text = replaceMember(text, "cellosseq", strconv.Itoa(seq))
		if key != nil {
			text = replaceMember(text, "celloskid", "attacker")
		}
		at := signatureMember.FindStringIndex(text)
		signed := strings.TrimSuffix(text[:at[0]]+text[at[1]:], "\n")
		digest := sha256.Sum256([]byte(signed))
		prev = hex.EncodeToString(digest[:])
		if key != nil {
			signature := base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(signed)))
			text = replaceMember(text, "cellossig", signature)
		}
		out[seq] = []byte(text)
	}
	return out
}

func replaceMember(text, name, value string) string {
	key := `"` + name + `":"`
	start := strings.Index(text, key)
	if start < 0 {
		return text
	}
	start += len(key)
	end := start + strings.IndexByte(text[start:], '"')
	return text[:start] + value + text[end:]
}
