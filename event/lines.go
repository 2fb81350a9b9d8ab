package event

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Lines reads a journal line by line in bounded memory.
type Lines struct {
	r   *bufio.Reader
	buf []byte

	Num    int   // of the line last returned, from 1
	Offset int64 // at which it begins
	next   int64
}

// NewLines returns a reader of r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next line without its newline; it is valid until the next
// call. At the end the error is io.EOF. A line without an end or longer than
// MaxRecord comes with a Fault; reading may go on after it.
func (l *Lines) Next() ([]byte, error) {
	l.Offset = l.next
	l.buf = l.buf[:0]
	length := 0
	for {
		part, err := l.r.ReadSlice('\n')
		length += len(part)
		l.next += int64(len(part))
		if len(l.buf)+len(part) <= MaxRecord {
			l.buf = append(l.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && length == 0 {
			return nil, io.EOF
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		l.Num++
		line := bytes.TrimSuffix(l.buf, []byte{'\n'})
		switch {
		case err != nil:
			return line, &Fault{Class: FaultTruncated, Line: l.Num, Detail: "the last line has no end"}
		case length > MaxRecord:
			f := malformed("longer than %d bytes", MaxRecord)
			f.Line = l.Num
			return line, f
		}
		return line, nil
	}
}
