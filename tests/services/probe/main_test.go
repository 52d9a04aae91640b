package main

import (
	"net"
	"testing"
)

// A port that is open, or that speaks something else, is not yet a server that
// answers: start would return too early.
func TestRunRefusesStrangers(t *testing.T) {
	answers := map[string]string{
		"silence": "",
		"zeros":   string(make([]byte, 64)),
		"HTTP":    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
		"one":     "\x00\x00\x00\x01",
		"huge":    "\x7f\xff\xff\xff\x00\x00\x00\x00",
	}
	for _, scheme := range []string{"kafka", "amqp", "rabbitmq-stream", "nats", "gopher"} {
		for name, answer := range answers {
			t.Run(scheme+"/"+name, func(t *testing.T) {
				address := answerOnce(t, answer)
				if err := run(scheme + "://app:secret@" + address); err == nil {
					t.Errorf("%s server taken for %s", name, scheme)
				}
			})
		}
	}
}

func TestRunRefusesClosedPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := run("nats://" + listener.Addr().String()); err == nil {
		t.Error("a closed port was taken for a server")
	}
}

// answerOnce serves one connection: it sends answer and hangs up.
func answerOnce(t *testing.T, answer string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return // closed by the clean-up
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(answer)) // the probe may be gone already
	}()
	t.Cleanup(func() {
		listener.Close()
		<-served
	})
	return listener.Addr().String()
}
