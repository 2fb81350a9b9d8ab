// Package sink is the port through which finished records leave a host in
// addition to the journal. A sink gets a record only after the journal has it,
// so a sink may lag or fail without a record being lost.
package sink

// A Sink takes records.
type Sink interface {
	// Name says in messages which sink it is. It holds no secret.
	Name() string
	// Write takes one record, newline included. When it returns nil the
	// record is with the receiver or in a file: it survives the death of this
	// process, though not of this host unless the sink says so. It does not
	// retry. On an error nothing of the record was written that could be
	// mistaken for a record. Write does not keep the slice, and it is safe
	// for concurrent use; what one caller writes stays in order.
	Write(record []byte) error
	// Close releases the sink. Records that were written stay written.
	Close() error
}

// A Holder is a Sink that can be asked for what it has. Whoever continues the
// work of another process has to know, because that may have been killed
// between the journal and the sink.
type Holder interface {
	Sink
	// Holds reports whether the record was written here.
	Holds(record []byte) (bool, error)
}
