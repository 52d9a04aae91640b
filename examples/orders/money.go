package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// mils are thousandths of a pound: some prices have three decimals, and sums of
// integers are exact in any order.
type mils int64

var errPrice = errors.New("is no price of at most three decimals")

// parseMils reads a price such as "-11062.06", without floating point. It bounds
// prices to 32 bits, so that a price times a quantity cannot overflow.
func parseMils(text string) (mils, error) {
	whole, part, decimals := strings.Cut(text, ".")
	if whole == "" || decimals && part == "" || len(part) > 3 {
		return 0, fmt.Errorf("%q %w", text, errPrice)
	}
	n, err := strconv.ParseInt(whole+part+"000"[len(part):], 10, 32)
	if err != nil || whole == "-" {
		return 0, fmt.Errorf("%q %w", text, errPrice)
	}
	return mils(n), nil
}

// String is the amount in pounds.
func (m mils) String() string {
	sign := ""
	if m < 0 {
		sign, m = "-", -m
	}
	return fmt.Sprintf("%s%d.%03d", sign, m/1000, m%1000)
}
