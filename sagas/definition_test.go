package sagas

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// order is the state of the sagas of these tests.
type order struct{ Notes []string }

func send(topic string) Action[order] {
	return Send(time.Minute, func(order) Command { return Command{Topic: topic} }, nil)
}

func compensatable(name string) Step[order] {
	return Step[order]{Name: name, Do: send(name), Undo: send(name)}
}

func pivot(name string) Step[order] { return Step[order]{Name: name, Kind: Pivot, Do: send(name)} }

func retriable(name string) Step[order] {
	return Step[order]{Name: name, Kind: Retriable, Do: send(name)}
}

func define(steps ...Step[order]) *Definition[order] {
	return &Definition[order]{Name: "checkout", Version: 1, Steps: steps}
}

func TestValidate(t *testing.T) {
	call := Call(0, func(_ context.Context, _ string, o order) (order, error) { return o, nil })
	bad := compensatable("reserve")
	bad.UndoPolicy = supervision.Policy{Timeout: -1}
	late := pivot("charge")
	late.GiveUp = -1
	for name, test := range map[string]struct {
		def  *Definition[order]
		want []string
	}{
		"sound":                {define(compensatable("a"), pivot("b"), retriable("c"), retriable("d")), nil},
		"no pivot":             {define(compensatable("a"), retriable("c")), nil},
		"nothing":              {&Definition[order]{Deadline: -1}, []string{"Name is empty", "Version 0", "Steps is empty", "Deadline"}},
		"after the pivot":      {define(pivot("charge"), compensatable("reserve")), []string{`step 2 "reserve": a compensatable step comes after the pivot step "charge"`}},
		"pivot too late":       {define(retriable("ship"), pivot("charge")), []string{`step 2 "charge": a pivot step comes after the retriable step "ship"`}},
		"two pivots":           {define(pivot("a"), pivot("b")), []string{`step 2 "b": a second pivot, after "a"`}},
		"duplicate name":       {define(compensatable("a"), compensatable("a")), []string{`step 2 "a": has the name of step 1`}},
		"no compensation":      {define(Step[order]{Name: "a", Do: send("a")}), []string{`step 1 "a": Undo is missing`}},
		"needless one":         {define(Step[order]{Name: "a", Kind: Pivot, Do: send("a"), Undo: send("a")}), []string{`step 1 "a": Undo is set`}},
		"no action":            {define(Step[order]{Name: "a", Kind: Pivot}), []string{`step 1 "a": Do is missing`}},
		"no time-out":          {define(Step[order]{Name: "a", Kind: Pivot, Do: call}), []string{`step 1 "a": the time-out 0s of do`}},
		"unknown kind":         {define(Step[order]{Name: "a", Kind: 9, Do: send("a")}), []string{`step 1 "a": Kind 9`}},
		"slash":                {define(pivot("a/b")), []string{`Name "a/b" has a slash`}},
		"policy":               {define(bad), []string{`step 1 "reserve": UndoPolicy: `, "Timeout"}},
		"negative, all faults": {define(late, compensatable("")), []string{"GiveUp", `step 2 "": Name is empty`}},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.def.Validate()
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
}

func TestKeys(t *testing.T) {
	in := Instance[order]{ID: "shop/7", Definition: "checkout"}
	for _, v := range []Verb{Do, Undo, Query} {
		definition, id, step, verb, ok := ParseKey(in.key("reserve stock", v))
		if !ok || definition != "checkout" || id != "shop/7" || step != "reserve stock" || verb != v {
			t.Errorf("ParseKey: %q %q %q %v %v", definition, id, step, verb, ok)
		}
	}
	for _, key := range []string{"", "a", "a/b", "a/do", "a/b/do", "a/b/c/redo"} {
		if _, _, _, _, ok := ParseKey(key); ok {
			t.Errorf("ParseKey takes %q", key)
		}
	}
}
