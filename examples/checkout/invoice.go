package main

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// invoice is the event: what a customer buys or sends back, or what the shop puts
// right in its books.
type invoice struct {
	No       string
	Customer string // empty if nobody knows
	Lines    []line
}

// line is some of a product. Units are negative if they come back.
type line struct {
	Stock string
	Units int
	Price mils // of one
}

// mils are thousandths of a pound.
type mils int64

// The kinds of invoices.
const (
	sale         = "sale"
	cancellation = "cancellation" // of a customer
	adjustment   = "adjustment"   // of the stock
)

func (i *invoice) kind() string {
	switch {
	case strings.HasPrefix(i.No, "C") && i.Customer != "":
		return cancellation
	case strings.HasPrefix(i.No, "C"), strings.HasPrefix(i.No, "A"), i.Lines[0].Units < 0:
		return adjustment
	}
	return sale
}

// key is whom the events must be in order for.
func (i *invoice) key() string {
	if i.Customer != "" {
		return "customer " + i.Customer
	}
	return "invoice " + i.No
}

// openInvoices are all invoices, in the order of their first lines.
func openInvoices(o options) ([]invoice, error) {
	if o.data == "" {
		return generate(o.seed, o.invoices), nil
	}
	file, err := os.Open(o.data)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	text := io.Reader(file)
	if strings.HasSuffix(o.data, ".gz") {
		if text, err = gzip.NewReader(file); err != nil {
			return nil, fmt.Errorf("%s: %w", o.data, err)
		}
	}
	all, err := readInvoices(csv.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.data, err)
	}
	return all, nil
}

// columns are the fields of a row, as the file's first line names them.
var columns = []string{"InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"}

// readInvoices puts the rows together by invoice.
func readInvoices(records *csv.Reader) (all []invoice, err error) {
	records.FieldsPerRecord = len(columns)
	records.ReuseRecord = true
	header, err := records.Read()
	if err != nil || !slices.Equal(header, columns) {
		return nil, errors.Join(fmt.Errorf("line 1 is not %q", strings.Join(columns, ",")), err)
	}
	places := make(map[string]int)
	for row := 1; ; row++ {
		fields, err := records.Read()
		if err == io.EOF { //nolint:errorlint // as encoding/csv promises it
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		l, err := readLine(fields)
		if err != nil {
			return nil, fmt.Errorf("row %d, invoice %q: %w", row, fields[0], err)
		}
		at, known := places[fields[0]]
		if !known {
			at = len(all)
			places[fields[0]] = at
			all = append(all, invoice{No: fields[0], Customer: fields[6]})
		}
		if i := &all[at]; i.Customer != fields[6] {
			return nil, fmt.Errorf("row %d, invoice %q: CustomerID is %q, and was %q", row, i.No, fields[6], i.Customer)
		}
		all[at].Lines = append(all[at].Lines, l)
	}
}

func readLine(fields []string) (line, error) {
	units, err := strconv.ParseInt(fields[3], 10, 32)
	if err != nil {
		return line{}, fmt.Errorf("column Quantity: %w", err)
	}
	price, err := parseMils(fields[5])
	if err != nil {
		return line{}, fmt.Errorf("column UnitPrice: %w", err)
	}
	return line{Stock: strings.Clone(fields[1]), Units: int(units), Price: price}, nil
}

// parseMils reads a price of at most three decimals, without floating point.
func parseMils(text string) (mils, error) {
	whole, part, _ := strings.Cut(text, ".")
	if len(part) > 3 {
		return 0, fmt.Errorf("%q has more than three decimals", text)
	}
	n, err := strconv.ParseInt(whole+part+"000"[len(part):], 10, 32)
	return mils(n), err
}

// String is the amount in pounds.
func (m mils) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	return fmt.Sprintf("%s%d.%03d", sign, m/1000, m%1000)
}
