package main

import (
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
)

// defaultBroker runs within this process, so that the example needs nothing.
const defaultBroker = "memory://?drop_settled=true"

// drivers are the brokers that -broker can name.
func drivers() []brokers.Driver {
	return []brokers.Driver{memory.Driver, nats.Driver, embedded.Driver}
}
