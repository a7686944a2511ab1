package embedded

import (
	"net"
	"sync"
	"testing"
)

// proxy is a line to a server that can be cut and frozen.
type proxy struct {
	addr string // its own
	to   string

	mu    sync.Mutex
	thaw  *sync.Cond
	ice   bool
	shut  bool // new connections are cut at once
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	p.thaw = sync.NewCond(&p.mu)
	t.Cleanup(func() {
		l.Close()
		p.freeze(false)
		p.cut(true)
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go p.join(in)
		}
	}()
	return p
}

func (p *proxy) join(in net.Conn) {
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		in.Close()
		return
	}
	p.mu.Lock()
	p.conns[in], p.conns[out] = true, true
	if p.shut {
		in.Close()
	}
	p.mu.Unlock()
	go p.copy(in, out)
	p.copy(out, in)
}

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.ice {
			p.thaw.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections, and while it is on those that are new as well.
func (p *proxy) cut(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = on
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// freeze has the connections stand still.
func (p *proxy) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ice = on
	p.thaw.Broadcast()
}
