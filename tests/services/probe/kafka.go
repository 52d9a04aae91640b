package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
)

func kafka(conn net.Conn, u *url.URL) (err error) {
	if *useTLS {
		if conn, err = secure(conn, u); err != nil {
			return err
		}
	}
	if u.User != nil {
		user, password := login(u)
		if err := saslPlain(conn, user, password); err != nil {
			return err
		}
	}
	// Metadata v1 with an empty topic list: brokers only.
	answer, err := ask(conn, 3, 1, []byte{0, 0, 0, 0})
	if err != nil {
		return err
	}
	r := &reader{answer}
	for n := r.int32(); n > 0 && len(r.rest) > 0; n-- {
		id := r.int32()
		r.string() // host
		r.int32()  // port
		r.string() // rack
		if id == *node || *node < 0 {
			return nil
		}
	}
	return fmt.Errorf("broker %d is not in the metadata yet", *node)
}

func saslPlain(conn net.Conn, user, password string) error {
	answer, err := ask(conn, 17, 1, kafkaString("PLAIN")) // SaslHandshake v1
	if err != nil {
		return err
	}
	if code := (&reader{answer}).int16(); code != 0 {
		return fmt.Errorf("SaslHandshake: error %d", code)
	}
	token := "\x00" + user + "\x00" + password
	body := binary.BigEndian.AppendUint32(nil, uint32(len(token)))
	answer, err = ask(conn, 36, 0, append(body, token...)) // SaslAuthenticate v0
	if err != nil {
		return err
	}
	if code := (&reader{answer}).int16(); code != 0 {
		return fmt.Errorf("SaslAuthenticate: error %d", code)
	}
	return nil
}

// ask sends one request and returns the body of its response.
func ask(conn net.Conn, key, version uint16, body []byte) ([]byte, error) {
	head := binary.BigEndian.AppendUint16(nil, key)
	head = binary.BigEndian.AppendUint16(head, version)
	head = binary.BigEndian.AppendUint32(head, 1) // correlation id
	head = append(head, kafkaString("probe")...)
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(head)+len(body)))
	if _, err := conn.Write(bytes.Join([][]byte{frame, head, body}, nil)); err != nil {
		return nil, err
	}
	var size uint32
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return nil, err
	}
	if size < 4 || size > 1<<20 {
		return nil, fmt.Errorf("response of %d bytes", size)
	}
	answer := make([]byte, size)
	_, err := io.ReadFull(conn, answer)
	return answer[4:], err
}

func kafkaString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// reader takes Kafka primitives off a response; past its end it reads zeros.
type reader struct{ rest []byte }

func (r *reader) take(n int) []byte {
	out := make([]byte, n)
	r.rest = r.rest[copy(out, r.rest):]
	return out
}

func (r *reader) int16() int { return int(int16(binary.BigEndian.Uint16(r.take(2)))) }
func (r *reader) int32() int { return int(int32(binary.BigEndian.Uint32(r.take(4)))) }

func (r *reader) string() string { return string(r.take(max(r.int16(), 0))) }
