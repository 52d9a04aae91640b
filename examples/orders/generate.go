package main

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// generate makes a stream of the shape of the real one: few customers with much
// of the rows and a quarter of them without any, orders and what takes them back
// (as it was, in part, too much, or never sold), exact repeats, and the dirt of
// years of booking. Equal seeds make equal streams.
func generate(seed uint64, rows int) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		s := newShop(seed)
		for row := 1; ; {
			for _, l := range s.next() {
				if row > rows {
					return
				}
				l.Row = row
				if !yield(l, nil) {
					return
				}
				row++
			}
		}
	}
}

// shop makes up invoices.
type shop struct {
	random    *rand.Rand
	customers *rand.Zipf
	products  *rand.Zipf
	clock     time.Time
	invoice   int
	sold      []line // what named customers bought lately
}

const remembered = 512

func newShop(seed uint64) *shop {
	random := rand.New(rand.NewPCG(seed, 0))
	return &shop{
		random:    random,
		customers: rand.NewZipf(random, 1.1, 8, 4000),
		products:  rand.NewZipf(random, 1.1, 32, 3500),
		clock:     time.Date(2010, time.December, 1, 8, 26, 0, 0, time.UTC),
		invoice:   536_365,
	}
}

// oneIn is true once in n times.
func (s *shop) oneIn(n int) bool { return s.random.IntN(n) == 0 }

// next makes the lines of the next invoice.
func (s *shop) next() []line {
	s.invoice++
	s.clock = s.clock.Add(time.Duration(1+s.random.IntN(120)) * time.Minute)
	switch n := s.random.IntN(1000); {
	case n < 150 && len(s.sold) > 0:
		return s.cancellation()
	case n < 200:
		return []line{s.adjustment()}
	case n < 202:
		return []line{s.badDebt()}
	}
	return s.order()
}

func (s *shop) order() (lines []line) {
	customer := ""
	if !s.oneIn(4) {
		customer = strconv.FormatUint(12_346+s.customers.Uint64(), 10)
	}
	size := 1
	if !s.oneIn(5) {
		size += s.random.IntN(40)
	}
	for range size {
		l := s.item(customer)
		if len(lines) > 0 && s.oneIn(100) {
			l = lines[len(lines)-1] // an exact repeat
		}
		lines = append(lines, l)
		s.remember(l)
	}
	return lines
}

func (s *shop) item(customer string) line {
	product := int(s.products.Uint64())
	price := mils(10 * (5 + product*7%900))
	switch {
	case s.oneIn(200):
		price = 0
	case s.oneIn(1000):
		price++ // a third decimal
	case s.oneIn(20):
		price = max(10, price/20*10) // a discount: another price of the same product
	}
	quantity := 1 + s.random.IntN(24)
	if s.oneIn(50) {
		quantity *= 100
	}
	return s.line(strconv.Itoa(s.invoice), product, quantity, price, customer)
}

func (s *shop) line(invoice string, product, quantity int, price mils, customer string) line {
	return line{
		Invoice: invoice, Stock: stockCode(product), Description: s.describe(product),
		Quantity: strconv.Itoa(quantity), Time: s.clock.Format(time.DateTime), Price: priceText(price),
		Customer: customer, Country: "United Kingdom",
	}
}

// remember keeps some of what can be cancelled.
func (s *shop) remember(l line) {
	switch {
	case l.Customer == "":
	case len(s.sold) < remembered:
		s.sold = append(s.sold, l)
	default:
		s.sold[s.random.IntN(remembered)] = l
	}
}

// cancellation takes back some of what was sold, or what was not.
func (s *shop) cancellation() (lines []line) {
	first := s.sold[s.random.IntN(len(s.sold))]
	for range 1 + s.random.IntN(3) {
		l := s.sold[s.random.IntN(len(s.sold))]
		if l.Customer != first.Customer {
			l = first // an invoice has one customer
		}
		units, err := strconv.Atoi(l.Quantity)
		if err != nil {
			panic(err) // this shop wrote it
		}
		switch s.random.IntN(8) {
		case 0:
			units += 1 + s.random.IntN(100)
		case 1, 2:
			units = 1 + s.random.IntN(units)
		case 3:
			l.Stock += "X"
		}
		l.Invoice, l.Quantity = "C"+strconv.Itoa(s.invoice), strconv.Itoa(-units)
		l.Time = s.clock.Format(time.DateTime)
		lines = append(lines, l)
	}
	return lines
}

// adjustment is a loss of stock: a negative quantity, and no cancellation.
func (s *shop) adjustment() line {
	l := s.line(strconv.Itoa(s.invoice), int(s.products.Uint64()), -1-s.random.IntN(200), 0, "")
	l.Description = []string{"", "damaged", "?? missing", "wrong code?"}[s.random.IntN(4)]
	if s.oneIn(8) {
		l.Customer, l.Price = "12345", "1.25"
	}
	return l
}

func (s *shop) badDebt() line {
	return line{
		Invoice: "A" + strconv.Itoa(s.invoice), Stock: "B", Description: "Adjust bad debt", Quantity: "1",
		Time: s.clock.Format(time.DateTime), Price: "-11062.06", Country: "United Kingdom",
	}
}

// stockCode gives different products codes that differ in case only.
func stockCode(product int) string {
	return fmt.Sprintf("%d%s", 20_000+product/4, []string{"", "A", "a", "B"}[product%4])
}

func (s *shop) describe(product int) string {
	names := [...]string{
		"WHITE HANGING HEART T-LIGHT HOLDER", "CREAM CUPID HEARTS COAT HANGER", `SET OF 3 "ROSE" TINS, PINK`,
		"CAFÉ AU LAIT BOWL", "KNITTED UNION FLAG HOT WATER BOTTLE", "GLASS STAR FROSTED T-LIGHT HOLDER",
		"PAPER CRAFT , LITTLE BIRDIE",
	}
	name := names[product%len(names)]
	switch s.random.IntN(10) {
	case 0, 1:
		name += " "
	case 2:
		name = "  " + name
	}
	return name
}

// priceText is a price as the file has it: 2.55, 0.0, 0.001.
func priceText(m mils) string {
	text := strings.TrimRight(m.String(), "0")
	if strings.HasSuffix(text, ".") {
		text += "0"
	}
	return text
}
