package supervision

import (
	"encoding/binary"
	"slices"

	"github.com/troupe-go/troupe/brokers"
)

// Aliases are the headers under which other tools look for a failure, for the
// dead letter of original on the broker of that name (brokers.Broker.Name):
//
//   - "kafka": what Spring for Apache Kafka's DeadLetterPublishingRecoverer
//     writes, kafka_dlt-original-* with big-endian numbers and
//     kafka_dlt-exception-*;
//   - "rabbitmq": what Spring AMQP's RepublishMessageRecoverer writes,
//     x-exception-* and x-original-*. The broker's own x-death is never forged;
//   - others: none.
//
// [Encode] adds them, and replaces those of an earlier round.
func Aliases(broker string, original *brokers.Message, l Letter) brokers.Headers {
	var f fields
	switch broker {
	case "kafka":
		f.kafkaAliases(original, &l)
	case "rabbitmq":
		f.raw(springMessage, l.ErrorMessage)
		f.raw(springStack, l.Stack)
		f.raw(springExchange, original.Topic)
		f.raw(springRoutingKey, original.RoutingKey)
	}
	return f.headers
}

func (f *fields) kafkaAliases(original *brokers.Message, l *Letter) {
	f.raw("kafka_dlt-original-topic", original.Topic)
	f.bytes("kafka_dlt-original-partition", binary.BigEndian.AppendUint32(nil, uint32(original.Partition)))
	f.bigEndian("kafka_dlt-original-offset", original.Offset)
	if !original.Time.IsZero() {
		f.bigEndian("kafka_dlt-original-timestamp", original.Time.UnixMilli())
	}
	f.raw("kafka_dlt-original-consumer-group", l.Group)
	f.raw("kafka_dlt-exception-fqcn", l.ErrorType)
	f.raw("kafka_dlt-exception-message", l.ErrorMessage)
	f.raw("kafka_dlt-exception-stacktrace", l.Stack)
}

func (f *fields) bigEndian(key string, v int64) {
	f.bytes(key, binary.BigEndian.AppendUint64(nil, uint64(v)))
}

func (f *fields) bytes(key string, value []byte) { f.add(key, value, brokers.KindBytes) }

// withoutAliases drops from h, in place, the headers that Aliases gives, the last of each
// key, where their values are the same: a header of the original that has only
// the name in common stays.
func withoutAliases(h brokers.Headers, original *brokers.Message, l Letter) brokers.Headers {
	for _, alias := range Aliases(l.Broker, original, l) {
		for i := len(h) - 1; i >= 0; i-- {
			if h[i].Key == alias.Key && string(h[i].Value) == string(alias.Value) {
				h = slices.Delete(h, i, i+1)
				break
			}
		}
	}
	return h
}
