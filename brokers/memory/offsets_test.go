package memory

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestOffsetsModel drives the bitmap and a map with the same calls.
func TestOffsetsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s offsets
		model := map[int64]bool{}
		low := rapid.Int64Range(0, 300).Draw(t, "low")
		s.cut(low)
		near := func(label string) int64 { return low + rapid.Int64Range(0, 300).Draw(t, label) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				o := near("add")
				if s.add(o) == model[o] {
					t.Fatalf("add(%d) when the set had it: %v", o, model[o])
				}
				model[o] = true
			},
			"remove": func(t *rapid.T) {
				o := near("remove")
				if s.remove(o) != model[o] {
					t.Fatalf("remove(%d) when the set had it: %v", o, model[o])
				}
				delete(model, o)
			},
			"cut": func(t *rapid.T) {
				low = near("cut")
				s.cut(low)
				maps.DeleteFunc(model, func(o int64, _ bool) bool { return o < low })
			},
			"gap": func(t *rapid.T) {
				from := near("gap")
				want := from
				for model[want] {
					want++
				}
				if got := s.gap(from); got != want {
					t.Fatalf("gap(%d) = %d, want %d", from, got, want)
				}
			},
			"": func(t *rapid.T) {
				want := slices.Sorted(maps.Keys(model))
				if got := slices.Collect(s.all()); !slices.Equal(got, want) || s.len() != len(want) {
					t.Fatalf("set is %v (%d), want %v", got, s.len(), want)
				}
			},
		})
	})
}
