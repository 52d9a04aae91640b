package nats

import (
	"strconv"
	"strings"
)

// Names on the server. A topic is a stream of that name, whose subjects are
// <topic>.p.<partition>; a group has the durable consumer <group>-p<partition>
// for each partition. What the server does not take in a name travels as =XX,
// so two names never become one.

const hexDigits = "0123456789ABCDEF"

// escape returns name with each byte that is not plain as =XX.
func escape(name string, plain func(c byte) bool) string {
	clean := true
	for i := range len(name) {
		clean = clean && plain(name[i])
	}
	if clean {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// plainInToken says whether a byte may stand in any name and subject token.
func plainInToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// token returns a name as one subject token, which is also a name of a stream or
// a consumer.
func token(name string) string { return escape(name, plainInToken) }

// root returns a topic's subject root. Its dots stay, as everybody writes them,
// where they separate tokens.
func root(topic string) string {
	if topic == "" || strings.HasPrefix(topic, ".") || strings.HasSuffix(topic, ".") || strings.Contains(topic, "..") {
		return token(topic)
	}
	return escape(topic, func(c byte) bool { return c == '.' || plainInToken(c) })
}

// partitionSubject is where messages of a partition are published.
func partitionSubject(topic string, partition int32) string {
	return root(topic) + ".p." + strconv.Itoa(int(partition))
}

// partitionConsumer is the durable consumer of a group for a partition.
func partitionConsumer(group string, partition int32) string {
	return token(group) + "-p" + strconv.Itoa(int(partition))
}

// streamConsumer is the durable consumer of a group for a stream that others made.
func streamConsumer(group, topic string) string { return token(group) + "-of-" + token(topic) }

// membersSubject is where the members of a group tell each other what they own.
func membersSubject(group string) string { return "troupe.members." + token(group) }
