package rabbitmq

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the order in which messages are settled, the server is told of each
// once, and whether it is rejected, and never of one that is not outstanding, for which it would close the
// channel.
func TestAcksAreOfWhatIsOutstanding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a acks
		outstanding, settled, rejected := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
		upTo := int64(0)
		acknowledge := func() {
			v := a.plan()
			one := func(tag int64, reject bool) {
				if !outstanding[tag] || rejected[tag] != reject {
					t.Fatalf("verdict on %d, rejection %v; outstanding are %v, rejected %v", tag, reject, slices.Sorted(maps.Keys(outstanding)), rejected)
				}
				delete(outstanding, tag)
			}
			for _, tag := range v.rejected {
				one(tag, true)
			}
			if v.multiple > 0 && !outstanding[v.multiple] {
				t.Fatalf("all up to %d are acknowledged, which is not outstanding: %v", v.multiple, slices.Sorted(maps.Keys(outstanding)))
			}
			for tag := range outstanding {
				if tag <= v.multiple {
					one(tag, false)
				}
			}
			for _, tag := range v.single {
				one(tag, false)
			}
			for tag := int64(1); tag <= a.fetched; tag++ {
				if outstanding[tag] == settled[tag] {
					t.Fatalf("%d: settled %v, outstanding %v", tag, settled[tag], outstanding[tag])
				}
			}
			if n := a.pending(); n != 0 {
				t.Fatalf("%d are pending after all are acknowledged", n)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"fetch": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					a.fetched++
					outstanding[a.fetched] = true
				}
			},
			"settle": func(t *rapid.T) {
				upTo = max(upTo, rapid.Int64Range(-1, a.fetched+1).Draw(t, "upTo"))
				above := rapid.SliceOfN(rapid.Int64Range(0, a.fetched+1), 0, 4).Draw(t, "above")
				was := maps.Clone(settled)
				for tag := int64(1); tag <= a.fetched; tag++ {
					settled[tag] = settled[tag] || tag <= upTo || slices.Contains(above, tag)
				}
				var reject []int64
				for tag := range settled {
					if settled[tag] && !was[tag] && rapid.Bool().Draw(t, "reject") {
						reject, rejected[tag] = append(reject, tag), true
					}
				}
				a.settle(upTo, above, reject)
				upTo = min(upTo, a.fetched)
			},
			"acknowledge": func(*rapid.T) { acknowledge() },
		})
		acknowledge()
	})
}

// Memory follows what lies above the prefix, not the number of messages.
func TestAcksForget(t *testing.T) {
	var a acks
	for tag := int64(1); tag <= 1_000_000; tag += 2 {
		a.fetched = tag + 1
		a.settle(tag-1, []int64{tag + 1}, []int64{tag + 1})
		a.plan()
	}
	if n := a.singles.Len() + a.due.Len(); n > 2 {
		t.Errorf("%d tags are kept", n)
	}
}
