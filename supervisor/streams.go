package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// drainTimeout is how long the last output of a dead cell may take to be read
// by whoever reads ours.
const drainTimeout = 10 * time.Second

// streams connects the workload's standard streams with ours. The workload
// gets pipes, never our own descriptors: it must not be able to change their
// flags, read from a terminal, or keep them open after its end.
type streams struct {
	child  [3]*os.File // what the cell gets
	parent []*os.File  // our ends
	copied chan struct{}
}

// openStreams makes the pipes and starts copying. stdin may be nil.
func openStreams(stdin io.Reader, stdout, stderr io.Writer) (*streams, error) {
	s := &streams{copied: make(chan struct{})}
	in, err := s.openInput(stdin)
	if err != nil {
		return nil, err
	}
	s.child[0] = in
	done := make(chan struct{}, 2)
	for i, w := range []io.Writer{stdout, stderr} {
		r, childEnd, err := os.Pipe()
		if err != nil {
			s.closeAll()
			return nil, fmt.Errorf("pipe: %w", err)
		}
		s.parent = append(s.parent, r)
		s.child[i+1] = childEnd
		go func() {
			// If our reader is gone, closing the pipe tells the workload.
			_, _ = io.Copy(w, r)
			r.Close()
			done <- struct{}{}
		}()
	}
	go func() {
		<-done
		<-done
		close(s.copied)
	}()
	return s, nil
}

func (s *streams) openInput(stdin io.Reader) (*os.File, error) {
	if stdin == nil {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return nil, fmt.Errorf("open standard input: %w", err)
		}
		return f, nil
	}
	childEnd, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	s.parent = append(s.parent, w)
	go func() {
		_, _ = io.Copy(w, stdin)
		w.Close()
	}()
	return childEnd, nil
}

// handedOver closes the cell's ends on our side, so that the pipes end when
// the cell does.
func (s *streams) handedOver() {
	for i, f := range s.child {
		if f != nil {
			f.Close()
			s.child[i] = nil
		}
	}
}

// drain waits for the output of a cell whose processes are gone.
func (s *streams) drain() error {
	s.handedOver()
	defer s.closeAll()
	select {
	case <-s.copied:
		return nil
	case <-time.After(drainTimeout):
		return errors.New("the last output of the workload could not be written: our reader does not read")
	}
}

func (s *streams) closeAll() {
	s.handedOver()
	for _, f := range s.parent {
		f.Close()
	}
}
