package supervision_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

func TestAliases(t *testing.T) {
	m := brokers.Message{
		Topic: "orders", RoutingKey: "p3", Partition: 3, Offset: 258, Time: time.UnixMilli(1_700_000_000_000),
	}
	l := supervision.Letter{ErrorType: "*db.Error", ErrorMessage: "two\nlines", Stack: "panic()", Group: "billing"}
	tests := map[string]map[string]string{
		"kafka": {
			"kafka_dlt-original-topic":          "orders",
			"kafka_dlt-original-partition":      "\x00\x00\x00\x03",
			"kafka_dlt-original-offset":         "\x00\x00\x00\x00\x00\x00\x01\x02",
			"kafka_dlt-original-timestamp":      unhex("0000018bcfe56800"),
			"kafka_dlt-original-consumer-group": "billing",
			"kafka_dlt-exception-fqcn":          "*db.Error",
			"kafka_dlt-exception-message":       "two\nlines",
			"kafka_dlt-exception-stacktrace":    "panic()",
		},
		"rabbitmq": {
			"x-exception-message":    "two\nlines",
			"x-exception-stacktrace": "panic()",
			"x-original-exchange":    "orders",
			"x-original-routingKey":  "p3",
		},
		"nats": {},
		"":     {},
	}
	for broker, want := range tests {
		got := supervision.Aliases(broker, &m, l)
		if len(got) != len(want) {
			t.Errorf("%q: %d headers, want %d", broker, len(got), len(want))
		}
		for key, value := range want {
			if text := got.Text(key); text != value {
				t.Errorf("%q: %s is %q, want %q", broker, key, text, value)
			}
		}
	}
}

func unhex(s string) string {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
