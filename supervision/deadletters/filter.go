package deadletters

import (
	"strings"
	"time"
)

// Filter says which letters are meant: those that all of its fields let through.
// The zero Filter means all.
type Filter struct {
	// Topic that the message came from.
	Topic string
	// Key of the message; nil is any.
	Key []byte
	// Reason and Error are parts of the letter's reason and error text, in any
	// case of letters.
	Reason, Error string
	// ErrorType is a part of the error's Go type.
	ErrorType string
	// Since and Until bound the time of the last failure: not before Since, before
	// Until.
	Since, Until time.Time
	// At means one letter, by its place.
	At *Place
	// Match is asked last.
	Match func(Letter) bool
}

// Place is where a letter lies.
type Place struct {
	Partition int32
	Offset    int64
}

func (f *Filter) matches(l *Letter) bool {
	failed := l.LastFailure
	if failed.IsZero() {
		failed = l.Time
	}
	switch {
	case f.Topic != "" && l.Original.Topic != f.Topic,
		f.Key != nil && string(l.Original.Key) != string(f.Key),
		!contains(l.Reason, f.Reason), !contains(l.ErrorMessage, f.Error), !contains(l.ErrorType, f.ErrorType),
		!f.Since.IsZero() && failed.Before(f.Since),
		!f.Until.IsZero() && !failed.Before(f.Until),
		f.At != nil && *f.At != Place{l.Partition, l.Offset}:
		return false
	}
	return f.Match == nil || f.Match(*l)
}

func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
