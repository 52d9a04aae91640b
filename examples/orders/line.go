package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// errBadLine says that a field of a row cannot be read. No retry mends it.
var errBadLine = errors.New("bad line")

// columns are the fields of a row, as the file's first line names them.
var columns = [...]string{
	"InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country",
}

// line is the event: a row of the file, its fields as they were read. It is the
// handlers that parse them, so that a bad row becomes a dead letter with the
// reason, and is not lost before anybody has seen it.
type line struct {
	Row         int    `json:"row"` // from 1
	Invoice     string `json:"invoice"`
	Stock       string `json:"stock"`
	Description string `json:"description"`
	Quantity    string `json:"quantity"`
	Time        string `json:"time"`
	Price       string `json:"price"`
	Customer    string `json:"customer"`
	Country     string `json:"country"`
}

func newLine(row int, fields []string) line {
	return line{
		Row: row, Invoice: fields[0], Stock: fields[1], Description: fields[2], Quantity: fields[3],
		Time: fields[4], Price: fields[5], Customer: fields[6], Country: fields[7],
	}
}

// sale is what a line says.
type sale struct {
	row      int
	invoice  string
	stock    string
	customer string
	month    string // 2010-12
	quantity int
	price    mils // of one
}

// cancels says whether the line takes back what another has sold.
func (s *sale) cancels() bool { return strings.HasPrefix(s.invoice, "C") }

// parse reads the fields. An error wraps errBadLine and names row and field.
func (l *line) parse() (sale, error) {
	// In 32 bits, as the price is: their product then fits 64.
	quantity, err := strconv.ParseInt(l.Quantity, 10, 32)
	if err != nil {
		return sale{}, l.bad("Quantity", err)
	}
	price, err := parseMils(l.Price)
	if err != nil {
		return sale{}, l.bad("UnitPrice", err)
	}
	if _, err := time.Parse(time.DateTime, l.Time); err != nil {
		return sale{}, l.bad("InvoiceDate", err)
	}
	return sale{
		row: l.Row, invoice: l.Invoice, stock: l.Stock, customer: l.Customer,
		month: l.Time[:len("2010-12")], quantity: int(quantity), price: price,
	}, nil
}

func (l *line) bad(field string, err error) error {
	return fmt.Errorf("%w: row %d, invoice %q, %s: %w", errBadLine, l.Row, l.Invoice, field, err)
}
