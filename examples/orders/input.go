package main

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// input is a stream of lines of which the number is known.
type input struct {
	name string
	rows int
	// lines can be ranged over more than once. An error is the last thing
	// that it yields.
	lines iter.Seq2[line, error]
}

func openInput(o options) (input, error) {
	if o.data != "" {
		return openFile(o.data)
	}
	return input{fmt.Sprintf("generated from seed %d", o.seed), o.rows, generate(o.seed, o.rows)}, nil
}

// openFile reads a file of comma-separated values once and refuses it as a whole
// if it is not made as it should be: the error names file and line. What the
// fields say is not looked at here.
func openFile(path string) (input, error) {
	info, err := os.Stat(path)
	if err != nil {
		return input{}, err
	}
	if !info.Mode().IsRegular() {
		return input{}, fmt.Errorf("%s: is no regular file, and it is to be read twice", path)
	}
	in := input{name: path, lines: readFile(path)}
	for _, err := range in.lines {
		if err != nil {
			return input{}, err
		}
		in.rows++
	}
	return in, nil
}

// readFile yields the rows of a file, which is unpacked if its name ends in .gz.
func readFile(path string) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		if err := eachRow(path, func(l line) bool { return yield(l, nil) }); err != nil {
			yield(line{}, fmt.Errorf("%s: %w", path, err))
		}
	}
}

// eachRow calls each for the rows of a file until it returns false.
func eachRow(path string, each func(line) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	text := io.Reader(file)
	if strings.HasSuffix(path, ".gz") {
		if text, err = gzip.NewReader(file); err != nil {
			return err
		}
	}
	records := csv.NewReader(text)
	records.FieldsPerRecord = len(columns)
	records.ReuseRecord = true
	if err := readHeader(records); err != nil {
		return err
	}
	for row := 1; ; row++ {
		fields, err := records.Read()
		if err == io.EOF { //nolint:errorlint // as encoding/csv promises it
			return nil
		}
		if err == nil {
			err = checkText(records, fields)
		}
		if err != nil {
			return err
		}
		if !each(newLine(row, fields)) {
			return nil
		}
	}
}

func readHeader(records *csv.Reader) error {
	header, err := records.Read()
	if err != nil && err != io.EOF {
		return err
	}
	if !slices.Equal(header, columns[:]) {
		return fmt.Errorf("line 1 is not %q", strings.Join(columns[:], ","))
	}
	return nil
}

// checkText refuses what JSON could not carry.
func checkText(records *csv.Reader, fields []string) error {
	for i, field := range fields {
		if !utf8.ValidString(field) {
			at, _ := records.FieldPos(i)
			return fmt.Errorf("line %d: %s %q is not UTF-8", at, columns[i], field)
		}
	}
	return nil
}
