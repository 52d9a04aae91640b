package main

import "testing"

func TestFaultsFollowFromTheSeed(t *testing.T) {
	const rows = 20_000
	count := func(rate float64, seed uint64, group string) (failing, most int) {
		for row := range rows {
			n := failures(rate, seed, group, messageID("run", row))
			if n != failures(rate, seed, group, messageID("other", row)) {
				t.Fatalf("row %d fails differently in another run", row)
			}
			if n > 0 {
				failing++
			}
			most = max(most, n)
		}
		return failing, most
	}
	failing, most := count(0.01, 1, ledgerGroup)
	if failing < rows/200 || failing > rows/50 {
		t.Errorf("%d of %d fail, want about 1 in 100", failing, rows)
	}
	if most != 3 {
		t.Errorf("up to %d attempts fail; want 3, fewer than the policy allows", most)
	}
	if failing, _ := count(0, 1, ledgerGroup); failing != 0 {
		t.Errorf("%d fail at rate 0", failing)
	}
	if failing, _ := count(1, 1, returnsGroup); failing != rows {
		t.Errorf("%d fail at rate 1", failing)
	}
}
