package brokers

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// maxJSONDepth is how deep a payload may be nested that is looked into.
const maxJSONDepth = 64

// jsonField returns the scalar at the path, as [JSONKey] says. It builds nothing
// but the result.
func jsonField(doc []byte, path []string) ([]byte, bool) {
	if !json.Valid(doc) {
		return nil, false
	}
	s := jsonScan{doc: doc}
	value := s.find(path)
	if s.tooDeep || len(value) == 0 {
		return nil, false
	}
	switch value[0] {
	case '{', '[', 'n':
		return nil, false
	case '"':
		return jsonText(value), true
	}
	return value, true
}

// jsonText is what a JSON string says.
func jsonText(quoted []byte) []byte {
	text := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
		return text[:len(text):len(text)]
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("brokers: " + err.Error()) // it is known to be valid
	}
	return []byte(s)
}

// jsonScan walks through a document that is known to be valid.
type jsonScan struct {
	doc     []byte
	pos     int
	depth   int
	tooDeep bool
}

// find steps over a value and returns what is at path in it, nil if nothing is.
func (s *jsonScan) find(path []string) (found []byte) {
	if len(path) == 0 {
		return s.skip()
	}
	if s.next() != '{' {
		s.skip()
		return nil
	}
	s.enter()
	for s.next() != '}' {
		if s.doc[s.pos] == ',' {
			s.pos++
			s.next()
		}
		name := jsonText(s.text())
		s.next()
		s.pos++ // the colon
		if string(name) == path[0] {
			found = s.find(path[1:])
		} else {
			s.skip()
		}
	}
	s.leave()
	return found
}

// skip steps over a value and returns it.
func (s *jsonScan) skip() []byte {
	s.next()
	start, outside := s.pos, s.depth
	for {
		switch s.next() {
		case '{', '[':
			s.enter()
		case '}', ']':
			s.leave()
		case ',', ':':
			s.pos++
		case '"':
			s.text()
		default:
			s.literal()
		}
		if s.depth == outside {
			return s.doc[start:s.pos:s.pos]
		}
	}
}

// next steps over white space and returns what comes then.
func (s *jsonScan) next() byte {
	for s.doc[s.pos] <= ' ' {
		s.pos++
	}
	return s.doc[s.pos]
}

// text steps over a string and returns it with its quotes.
func (s *jsonScan) text() []byte {
	start := s.pos
	for s.pos++; s.doc[s.pos] != '"'; s.pos++ {
		if s.doc[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.doc[start:s.pos]
}

// literal steps over a number, true, false or null.
func (s *jsonScan) literal() {
	for s.pos < len(s.doc) && bytes.IndexByte(jsonEnds, s.doc[s.pos]) < 0 {
		s.pos++
	}
}

// jsonEnds are what may follow a literal.
var jsonEnds = []byte(",}] \t\r\n")

func (s *jsonScan) enter() {
	s.pos++
	s.depth++
	s.tooDeep = s.tooDeep || s.depth > maxJSONDepth
}

func (s *jsonScan) leave() {
	s.pos++
	s.depth--
}
