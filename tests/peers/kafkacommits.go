package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers/kafka"
)

// commitTable counts the requests that store positions, while all is read.
func (b *kafkaBench) commitTable(o *options) (t table, err error) {
	n := o.messages(2_000_000)
	drop, err := b.makeTopic(kafkaPartitions, n, 100, kafkaKeys)
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	var commits atomic.Int64
	broker, err := b.open(kafka.Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &countingConn{Conn: conn, commits: &commits}, err
	}})
	if err != nil {
		return table{}, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	var began time.Time
	pause := work{do: func() { time.Sleep(500 * time.Microsecond) }} // it takes several intervals
	run, clean, err := prepareSystem(broker, b.topic, pause, n, func() { began = time.Now() })
	if err != nil {
		return table{}, err
	}
	if err := errors.Join(run(), clean()); err != nil {
		return table{}, err
	}
	took := time.Since(began)
	const interval = time.Second // the driver's default
	return table{Title: "Commits, Kafka", Notes: []string{fmt.Sprintf(
		"troupe sent %d OffsetCommit requests for %d partitions in %.1f s; one per partition and interval of %v would have been %d",
		commits.Load(), kafkaPartitions, took.Seconds(), interval, kafkaPartitions*int(math.Ceil(took.Seconds()/interval.Seconds())),
	)}}, nil
}

// countingConn counts requests of one kind among those that are written.
type countingConn struct {
	net.Conn
	commits *atomic.Int64
	head    []byte // of the request that is being written, up to its kind
	left    int    // of it, behind the head
}

const offsetCommit = 8

func (c *countingConn) Write(p []byte) (int, error) {
	c.read(p)
	return c.Conn.Write(p)
}

func (c *countingConn) read(p []byte) {
	const head = 6 // its length, and its kind
	for len(p) > 0 {
		skip := min(c.left, len(p))
		p, c.left = p[skip:], c.left-skip
		need := min(head-len(c.head), len(p))
		if c.left > 0 || need == 0 {
			return
		}
		c.head, p = append(c.head, p[:need]...), p[need:]
		if len(c.head) < head {
			return
		}
		if binary.BigEndian.Uint16(c.head[4:]) == offsetCommit {
			c.commits.Add(1)
		}
		c.left, c.head = int(binary.BigEndian.Uint32(c.head))-2, c.head[:0]
	}
}
