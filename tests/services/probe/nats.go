package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

func nats(conn net.Conn, u *url.URL) (err error) {
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadString('\n'); err != nil { // INFO
		return err
	}
	if *useTLS {
		if conn, err = secure(conn, u); err != nil {
			return err
		}
		lines = bufio.NewReader(conn)
	}
	user, password := login(u)
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"user\":%q,\"pass\":%q}\r\n"+
		"SUB _INBOX.probe 1\r\nPUB $JS.API.INFO _INBOX.probe 0\r\n\r\n", user, password)
	if err != nil {
		return err
	}
	for {
		line, err := lines.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "-ERR"):
			return errors.New(strings.TrimSpace(line))
		case strings.HasPrefix(line, "MSG _INBOX.probe"):
			info, err := lines.ReadString('\n')
			if err == nil && strings.Contains(info, `"error"`) {
				err = errors.New(info)
			}
			return err
		}
	}
}
