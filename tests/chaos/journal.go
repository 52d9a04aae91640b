package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// journal is a file that members append to, each record with one write, so that
// records of several processes lie in the order in which they happened, and what
// a process wrote outlives its kill. All methods may be called concurrently.
type journal struct{ file *os.File }

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{file}, nil
}

// write appends a record, with the time of now if it has none.
func (j *journal) write(r Record) error {
	if r.Time == 0 {
		r.Time = time.Now().UnixNano()
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(line, '\n'))
	return err
}

func (j *journal) close() error { return j.file.Close() }

// reader reads a journal that grows.
type reader struct {
	file    *os.File
	partial []byte // the beginning of a line
}

func openReader(path string) (*reader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &reader{file: file}, nil
}

// read returns the records that were written since the last call.
func (r *reader) read() ([]Record, error) {
	more, err := io.ReadAll(r.file)
	if err != nil {
		return nil, err
	}
	r.partial = append(r.partial, more...)
	var records []Record
	for {
		line, rest, whole := bytes.Cut(r.partial, []byte{'\n'})
		if !whole {
			return records, nil
		}
		var record Record
		if err := json.Unmarshal(line, &record); err != nil {
			return records, fmt.Errorf("journal: %q: %w", line, err)
		}
		records = append(records, record)
		r.partial = rest
	}
}

// close fails if the journal ends within a line.
func (r *reader) close() error {
	var torn error
	if len(r.partial) > 0 {
		torn = fmt.Errorf("journal: ends with %q", r.partial)
	}
	return errors.Join(torn, r.file.Close())
}
