package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
)

func amqp(conn net.Conn, u *url.URL) (err error) {
	if u.Scheme == "amqps" {
		if conn, err = secure(conn, u); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	if _, err := amqpRead(conn, 10); err != nil { // Start
		return err
	}
	user, password := login(u)
	response := "\x00" + user + "\x00" + password
	startOk := append([]byte{0, 0, 0, 0}, shortString("PLAIN")...) // no client properties
	startOk = binary.BigEndian.AppendUint32(startOk, uint32(len(response)))
	startOk = append(startOk, response...)
	startOk = append(startOk, shortString("en_US")...)
	if err := amqpWrite(conn, 11, startOk); err != nil {
		return err
	}
	limits, err := amqpRead(conn, 30) // Tune
	if err != nil {
		return err
	}
	if err := amqpWrite(conn, 31, limits); err != nil { // TuneOk: agreed
		return err
	}
	vhost := strings.TrimPrefix(u.Path, "/")
	if vhost == "" {
		vhost = "/"
	}
	if err := amqpWrite(conn, 40, append(shortString(vhost), 0, 0)); err != nil { // Open
		return err
	}
	if _, err := amqpRead(conn, 41); err != nil { // OpenOk
		return err
	}
	if err := amqpWrite(conn, 50, []byte{0, 200, 0, 0, 0, 0, 0}); err != nil { // Close
		return err
	}
	_, err = amqpRead(conn, 51) // CloseOk
	return err
}

// amqpRead returns the arguments of the next method, which must be one of the
// connection class (10).
func amqpRead(conn net.Conn, method uint16) ([]byte, error) {
	head := make([]byte, 7) // type, channel, size
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > 1<<20 {
		return nil, fmt.Errorf("frame of %d bytes", size)
	}
	payload := make([]byte, size+1) // and the frame end
	if _, err := io.ReadFull(conn, payload); err != nil {
		return nil, err
	}
	if len(payload) < 5 || binary.BigEndian.Uint16(payload) != 10 || binary.BigEndian.Uint16(payload[2:]) != method {
		return nil, fmt.Errorf("expected method 10.%d, got %q", method, payload)
	}
	return payload[4 : len(payload)-1], nil
}

func amqpWrite(conn net.Conn, method uint16, arguments []byte) error {
	frame := []byte{1, 0, 0}
	frame = binary.BigEndian.AppendUint32(frame, uint32(4+len(arguments)))
	frame = binary.BigEndian.AppendUint16(frame, 10)
	frame = binary.BigEndian.AppendUint16(frame, method)
	frame = append(frame, arguments...)
	_, err := conn.Write(append(frame, 0xCE))
	return err
}

func shortString(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// stream logs in with RabbitMQ's stream protocol, whose strings are as Kafka's.
func stream(conn net.Conn, u *url.URL) error {
	user, password := login(u)
	token := "\x00" + user + "\x00" + password
	auth := binary.BigEndian.AppendUint32(kafkaString("PLAIN"), uint32(len(token)))
	for _, request := range []struct {
		key  uint16
		body []byte
	}{
		{17, []byte{0, 0, 0, 0}},     // PeerProperties: none
		{18, nil},                    // SaslHandshake
		{19, append(auth, token...)}, // SaslAuthenticate
	} {
		frame := binary.BigEndian.AppendUint32(nil, uint32(8+len(request.body)))
		frame = binary.BigEndian.AppendUint16(frame, request.key)
		frame = append(frame, 0, 1, 0, 0, 0, 1) // version, correlation id
		if _, err := conn.Write(append(frame, request.body...)); err != nil {
			return err
		}
		head := make([]byte, 14) // size, key, version, correlation id, code
		if _, err := io.ReadFull(conn, head); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head)
		if key := binary.BigEndian.Uint16(head[4:]); size < 10 || key != 0x8000|request.key {
			return fmt.Errorf("expected the response to %d, got %q", request.key, head)
		}
		if code := binary.BigEndian.Uint16(head[12:]); code != 1 {
			return fmt.Errorf("request %d: error %d", request.key, code)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(size)-10); err != nil {
			return err
		}
	}
	return nil
}
