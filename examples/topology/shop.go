package main

import (
	"time"

	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

// shop is the names of what is on the server.
type shop struct {
	orders      string // the exchange that orders are published to
	dead        string // the exchange of those that died
	eu, us      string // queues by region
	graveyard   string // the queue of those that died
	usLivesOnly time.Duration
}

func newShop(prefix string) shop {
	return shop{
		orders: prefix + ".orders", dead: prefix + ".dead", eu: prefix + ".eu", us: prefix + ".us", graveyard: prefix + ".graveyard",
		usLivesOnly: 100 * time.Millisecond,
	}
}

// topology is the exchanges and queues. What expires in the queue of the US goes
// to the graveyard by the server itself; what a handler in the EU refuses is
// published there, and acknowledged when that is confirmed.
func (s shop) topology() rabbitmq.Topology {
	return rabbitmq.Topology{
		Exchanges: []rabbitmq.ExchangeConfig{
			{Name: s.orders, Kind: rabbitmq.ExchangeTopic},
			{Name: s.dead, Kind: rabbitmq.ExchangeFanout},
		},
		Queues: []rabbitmq.QueueConfig{
			{Name: s.eu, DeadLetter: rabbitmq.DeadLetter{Exchange: s.dead}, MaxLength: 1_000_000, Overflow: rabbitmq.OverflowReject},
			{Name: s.us, DeadLetter: rabbitmq.DeadLetter{Exchange: s.dead}, MessageTTL: s.usLivesOnly},
			{Name: s.graveyard},
		},
		Bindings: []rabbitmq.BindingConfig{
			{Exchange: s.orders, Queue: s.eu, Key: "eu.#"},
			{Exchange: s.orders, Queue: s.us, Key: "us.#"},
			{Exchange: s.dead, Queue: s.graveyard},
		},
	}
}

// queues are read under the names of the exchanges that fill them.
func (s shop) queues() map[string]rabbitmq.Queue {
	return map[string]rabbitmq.Queue{s.orders: {Name: s.eu}, s.dead: {Name: s.graveyard}}
}
