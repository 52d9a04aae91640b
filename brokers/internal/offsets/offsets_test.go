package offsets

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestOffsetsModel drives the bitmap and a map with the same calls.
func TestOffsetsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		model := map[int64]bool{}
		low := rapid.Int64Range(0, 300).Draw(t, "low")
		s.Cut(low)
		near := func(label string) int64 { return low + rapid.Int64Range(0, 300).Draw(t, label) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				o := near("add")
				if s.Add(o) == model[o] {
					t.Fatalf("add(%d) when the set had it: %v", o, model[o])
				}
				model[o] = true
			},
			"remove": func(t *rapid.T) {
				o := near("remove")
				if s.Remove(o) != model[o] {
					t.Fatalf("remove(%d) when the set had it: %v", o, model[o])
				}
				delete(model, o)
			},
			"cut": func(t *rapid.T) {
				low = near("cut")
				s.Cut(low)
				maps.DeleteFunc(model, func(o int64, _ bool) bool { return o < low })
			},
			"gap": func(t *rapid.T) {
				from := near("gap")
				want := from
				for model[want] {
					want++
				}
				if got := s.Gap(from); got != want {
					t.Fatalf("gap(%d) = %d, want %d", from, got, want)
				}
			},
			"": func(t *rapid.T) {
				want := slices.Sorted(maps.Keys(model))
				if got := slices.Collect(s.All()); !slices.Equal(got, want) || s.Len() != len(want) {
					t.Fatalf("set is %v (%d), want %v", got, s.Len(), want)
				}
			},
		})
	})
}
