package rabbitmq

import (
	"fmt"
	"sync"
)

const maxPublishConnections = 1024

// pool is the connections that publish. Each Publisher has one of them while it lives.
type pool struct {
	links []*link

	mu    sync.Mutex
	users map[*link]int
}

func newPool(cfg *Config) *pool {
	p := &pool{links: []*link{newLink(cfg, "publish")}, users: map[*link]int{}}
	for n := 2; n <= cfg.PublishConnections; n++ {
		p.links = append(p.links, newLink(cfg, fmt.Sprintf("publish %d", n)))
	}
	return p
}

// take returns the connection that the fewest have, for one more.
func (p *pool) take() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := p.links[0]
	for _, l := range p.links {
		if p.users[l] < p.users[least] {
			least = l
		}
	}
	p.users[least]++
	return least
}

// giveBack says that one who took a connection is gone.
func (p *pool) giveBack(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[l]--
}

// blockage is why the server takes no messages on some connection; nil if it does.
func (p *pool) blockage() error {
	for _, l := range p.links {
		if err := l.blockage(); err != nil {
			return err
		}
	}
	return nil
}
