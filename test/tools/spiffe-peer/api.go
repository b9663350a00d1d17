package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// entry is one SVID that a workload is entitled to.
type entry struct {
	id   spiffeid.ID
	hint string
}

// endpoint is the Workload API as one workload sees it: a socket of its own stands for what an agent finds out by attestation.
type endpoint struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	plane     *plane
	socket    string
	entries   []entry
	federated map[string]bool
	denied    bool
	server    *grpc.Server
	// changed is closed, and replaced, at each change.
	changed chan struct{}
	// cut is closed, and replaced, to end the streams with an error.
	cut chan struct{}
	// response is what all streams are told until the next rotation.
	response *workload.X509SVIDResponse
	// streams counts those that run, calls those that have come, bare those without the header.
	streams, calls, bare int
}

// plane is all endpoints and the authorities behind them.
type plane struct {
	sync.Mutex
	life        time.Duration
	authorities map[spiffeid.TrustDomain]*authority
	// next is the authority that a trust domain is about to have.
	next      map[spiffeid.TrustDomain]*authority
	endpoints map[string]*endpoint
	ticker    *time.Ticker
	rotations int
}

func runAPI(args []string) error {
	p := &plane{endpoints: map[string]*endpoint{}}
	p.authorities, p.next = map[spiffeid.TrustDomain]*authority{}, map[spiffeid.TrustDomain]*authority{}
	flags := flag.NewFlagSet("api", flag.ExitOnError)
	control := flags.String("control", "", "UNIX socket that takes one line a connection and answers it with one")
	flags.DurationVar(&p.life, "life", time.Hour, "validity of SVIDs")
	flags.Func("workload", "SOCKET=ID[#HINT][,ID[#HINT]...]", p.addWorkload)
	_ = flags.Parse(args)
	for _, e := range p.endpoints {
		if err := e.start(); err != nil {
			return err
		}
	}
	p.ticker = time.NewTicker(time.Hour)
	go func() {
		for range p.ticker.C {
			p.rotate()
		}
	}()
	listener, err := net.Listen("unix", *control)
	if err != nil {
		return err
	}
	say(map[string]any{"ready": true})
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go p.serveControl(conn)
	}
}

// serveControl obeys one line and answers with one.
func (p *plane) serveControl(conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	answer, err := p.obey(strings.Fields(line))
	if err != nil {
		answer["error"] = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(answer)
}

func (p *plane) addWorkload(value string) error {
	socket, list, found := strings.Cut(value, "=")
	if !found {
		return errors.New("expected SOCKET=ID")
	}
	e := &endpoint{plane: p, socket: socket, federated: map[string]bool{}}
	e.changed, e.cut = make(chan struct{}), make(chan struct{})
	for _, each := range strings.Split(list, ",") {
		name, hint, _ := strings.Cut(each, "#")
		id, err := spiffeid.FromString(name)
		if err != nil {
			return err
		}
		e.entries = append(e.entries, entry{id, hint})
	}
	p.endpoints[socket] = e
	return e.renew()
}

func (p *plane) authorityOf(domain spiffeid.TrustDomain) (*authority, error) {
	if a := p.authorities[domain]; a != nil {
		return a, nil
	}
	a, err := newAuthority(domain)
	p.authorities[domain] = a
	return a, err
}

// obey does what one line says: a verb, a socket where one endpoint is meant, and what else the verb wants.
func (p *plane) obey(words []string) (map[string]any, error) {
	answer := map[string]any{}
	verb, rest := "", words
	if len(words) > 0 {
		verb, rest = words[0], words[1:]
	}
	switch verb {
	case "every":
		period, err := time.ParseDuration(strings.Join(rest, " "))
		if err != nil {
			return answer, err
		}
		p.ticker.Reset(period)
		return answer, nil
	case "root":
		if len(rest) != 2 {
			return answer, errors.New("expected add, activate or remove, and a trust domain")
		}
		if err := p.changeRoot(rest[0], rest[1]); err != nil {
			return answer, err
		}
		p.rotate()
		return answer, nil
	}
	p.Lock()
	var e *endpoint
	if len(rest) > 0 {
		e = p.endpoints[rest[0]]
	}
	p.Unlock()
	if e == nil {
		return answer, fmt.Errorf("no such endpoint: %v", rest)
	}
	if verb == "stop" {
		// Not under the lock, which the streams that it ends want.
		e.server.Stop()
		return answer, nil
	}
	p.Lock()
	defer p.Unlock()
	switch verb {
	case "start":
		return answer, e.start()
	case "deny", "grant":
		e.denied = verb == "deny"
		e.wake()
	case "error":
		close(e.cut)
		e.cut = make(chan struct{})
	case "federate", "forget":
		for _, name := range rest[1:] {
			e.federated[name] = verb == "federate"
		}
		if err := e.renew(); err != nil {
			return answer, err
		}
	case "status":
		answer["streams"], answer["calls"], answer["bare"], answer["rotations"] = e.streams, e.calls, e.bare, p.rotations
	default:
		return answer, fmt.Errorf("no such verb: %q", verb)
	}
	return answer, nil
}

// changeRoot takes one step from one root to another: both trusted, the new one signs, the old one trusted no longer.
func (p *plane) changeRoot(step, name string) error {
	domain, err := spiffeid.TrustDomainFromString(name)
	if err != nil {
		return err
	}
	p.Lock()
	defer p.Unlock()
	current := p.authorities[domain]
	if current == nil {
		return fmt.Errorf("no such trust domain: %s", name)
	}
	switch step {
	case "add":
		next, err := newAuthority(domain)
		if err != nil {
			return err
		}
		current.others, next.others = next.root.Raw, current.root.Raw
		p.next[domain] = next
	case "activate":
		if p.next[domain] == nil {
			return errors.New("no root was added")
		}
		p.authorities[domain] = p.next[domain]
	case "remove":
		current.others = nil
	default:
		return fmt.Errorf("no such step: %q", step)
	}
	return nil
}

func (p *plane) rotate() {
	p.Lock()
	defer p.Unlock()
	for _, e := range p.endpoints {
		if err := e.renew(); err != nil {
			fail(err.Error())
		}
	}
	p.rotations++
}

func (e *endpoint) start() error {
	_ = os.Remove(e.socket)
	listener, err := net.Listen("unix", e.socket)
	if err != nil {
		return err
	}
	e.server = grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(e.server, e)
	go func() { _ = e.server.Serve(listener) }()
	return nil
}

// renew makes new SVIDs for all entries and tells the streams.
func (e *endpoint) renew() error {
	response := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
	for _, each := range e.entries {
		authority, err := e.plane.authorityOf(each.id.TrustDomain())
		if err != nil {
			return err
		}
		chain, key, err := authority.issue(each.id, e.plane.life)
		if err != nil {
			return err
		}
		response.Svids = append(response.Svids, &workload.X509SVID{
			SpiffeId: each.id.String(), X509Svid: chain, X509SvidKey: key, Bundle: authority.bundle(), Hint: each.hint,
		})
	}
	for name, is := range e.federated {
		if !is {
			continue
		}
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			return err
		}
		authority, err := e.plane.authorityOf(domain)
		if err != nil {
			return err
		}
		response.FederatedBundles[domain.IDString()] = authority.bundle()
	}
	e.response = response
	e.wake()
	return nil
}

func (e *endpoint) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// FetchX509SVID is the one method that Culvert uses.
func (e *endpoint) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	e.plane.Lock()
	e.calls++
	header, _ := metadata.FromIncomingContext(stream.Context())
	if values := header.Get("workload.spiffe.io"); len(values) != 1 || values[0] != "true" {
		e.bare++
		e.plane.Unlock()
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	e.streams++
	e.plane.Unlock()
	defer func() {
		e.plane.Lock()
		e.streams--
		e.plane.Unlock()
	}()
	for {
		e.plane.Lock()
		response, denied, changed, cut := e.response, e.denied, e.changed, e.cut
		e.plane.Unlock()
		if denied {
			return status.Error(codes.PermissionDenied, "no identity issued")
		}
		if err := stream.Send(response); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-cut:
			return status.Error(codes.Unavailable, "told to fail")
		case <-stream.Context().Done():
			return nil
		}
	}
}
