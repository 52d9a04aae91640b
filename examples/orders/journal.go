package main

import (
	"fmt"
	"os"
	"sync"
)

// journal is a file of what happened, a line each: a row that the broker has
// confirmed, or one that a group has decided. A line is one write, so it outlives
// a kill of the process. A nil journal keeps nothing.
type journal struct {
	mu   sync.Mutex
	file *os.File
	err  error // the first that a write met
}

// openJournal appends to a file. Without a path there is no journal.
func openJournal(path string) (*journal, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{file: file}, nil
}

func (j *journal) confirmed(id string) { j.line("confirmed\t%s\n", id) }

func (j *journal) decided(group, id string, customer []byte, as tally) {
	j.line("%s\t%s\t%s\t%v\n", group, id, customer, as)
}

func (j *journal) line(format string, args ...any) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err == nil {
		_, j.err = fmt.Fprintf(j.file, format, args...)
	}
}

// close returns also the error of a write that failed: from then on there are no
// lines.
func (j *journal) close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.file.Close(); j.err == nil {
		j.err = err
	}
	return j.err
}
