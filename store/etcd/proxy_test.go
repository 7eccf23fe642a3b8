package etcd_test

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// proxy stands between a store and an etcd member and misbehaves on demand.
type proxy struct {
	t      *testing.T
	target string
	listen net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	mute  bool       // answers are swallowed
	cut   bool       // connections are refused
	conns map[net.Conn]struct{}
}

func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: u.Host, listen: l, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.set(false, true)
		l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) endpoint() string { return "http://" + p.listen.Addr().String() }

// set changes what the proxy does; a cut ends all connections.
func (p *proxy) set(mute, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute, p.cut = mute, cut
	if cut {
		for c := range p.conns {
			c.Close()
		}
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		if p.cut {
			client.Close()
			server.Close()
		}
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { p.copy(server, client, false) })
		p.wg.Go(func() { p.copy(client, server, true) })
	}
}

func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		swallow := answers && p.mute
		p.mu.Unlock()
		if n > 0 && !swallow {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
