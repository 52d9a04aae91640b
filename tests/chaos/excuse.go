package chaos

import "math"

// excuse is a time in which acknowledgements may have got lost.
type excuse struct{ from, to int64 }

// excusesOf finds them: from a blow to its mending, and at the end of members
// and epochs that got no warning.
func excusesOf(records []Record) []excuse {
	var excuses []excuse
	open := map[string][]int64{}
	for i := range records {
		r := &records[i]
		switch r.Kind {
		case Lost, Died:
			excuses = append(excuses, excuse{r.Time, r.Time})
		case Struck:
			open[r.Note] = append(open[r.Note], r.Time)
		case Mended:
			if began := open[r.Note]; len(began) > 0 {
				excuses = append(excuses, excuse{began[0], r.Time})
				open[r.Note] = began[1:]
			}
		case Started, Handled, Failed, Cancelled, Acked:
		}
	}
	for _, began := range open {
		for _, from := range began {
			excuses = append(excuses, excuse{from, math.MaxInt64})
		}
	}
	return excuses
}

// excused says whether the acknowledgement of what was handled then may have
// got lost.
func (c *checker) excused(handled int64) bool {
	lag := int64(c.limits.AckLag)
	for _, e := range c.excuses {
		if handled >= e.from-lag && handled-lag <= e.to {
			return true
		}
	}
	return false
}
