package sagatest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/troupe-go/troupe/sagas"
)

// BenchmarkLocalSteps reports how many sagas of three local steps end in a second,
// at 1, 8, 64 and 1,000 at once.
func BenchmarkLocalSteps(b *testing.B, open func(b *testing.B) sagas.Store) {
	for _, atOnce := range []int{1, 8, 64, 1000} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) {
			store := open(b)
			nop := sagas.Call(time.Minute, func(_ context.Context, _ string, s state) (state, error) { return s, nil })
			runner, err := sagas.Open(b.Context(), sagas.Config[state]{Store: store, Name: "me", Definitions: []*sagas.Definition[state]{{Name: "local", Version: 1, Steps: []sagas.Step[state]{
				{Name: "a", Do: nop, Undo: nop}, {Name: "b", Kind: sagas.Pivot, Do: nop}, {Name: "c", Kind: sagas.Retriable, Do: nop},
			}}}})
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var all sync.WaitGroup
			slots := make(chan struct{}, atOnce)
			for i := range b.N {
				slots <- struct{}{}
				all.Go(func() {
					defer func() { <-slots }()
					h, err := runner.Start(b.Context(), fmt.Sprint("l", i), state{})
					if err == nil {
						_, err = h.Wait(b.Context())
					}
					if err != nil {
						b.Error(err)
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sagas/s")
			b.StopTimer()
			if err := runner.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}
