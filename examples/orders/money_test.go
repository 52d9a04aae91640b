package main

import (
	"errors"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestParseMils(t *testing.T) {
	tests := map[string]mils{
		"2.55": 2550, "0.0": 0, "0.001": 1, "-11062.06": -11_062_060, "-0.5": -500, "38970": 38_970_000, "7.000": 7000,
		"2147483.647": 2_147_483_647,
	}
	for text, want := range tests {
		if got, err := parseMils(text); got != want || err != nil {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "-", ".", "1.", ".5", "-.5", "1.2345", "1,5", "1.-5", "1.+5", "1e3", "0x10", "1_000", " 1", "1 ", "1.2.3", "٣", "NaN",
		"2147483.648", "99999999999999999999",
	} {
		if got, err := parseMils(text); !errors.Is(err, errPrice) {
			t.Errorf("%q is %d, %v; want an error", text, got, err)
		}
	}
}

// Whatever is read is what exact arithmetic makes of it.
func TestParseMilsIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?\d{0,6}(\.\d{0,4})?`).Draw(t, "text")
		got, err := parseMils(text)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok || exact.Cmp(big.NewRat(int64(got), 1000)) != 0 {
			t.Fatalf("%q is %d", text, got)
		}
	})
}

func TestMilsAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := mils(rapid.Int32().Draw(t, "mils"))
		for _, text := range []string{m.String(), priceText(m)} {
			if got, err := parseMils(text); got != m || err != nil {
				t.Fatalf("%d is %q is %d, %v", m, text, got, err)
			}
		}
	})
}
