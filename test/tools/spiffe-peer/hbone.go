package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"golang.org/x/net/http2"
)

const deadline = 10 * time.Second

// identity is where go-spiffe has certificate, key and bundles from.
type identity struct {
	folder, socket, authorize string
}

func (i *identity) register(flags *flag.FlagSet) {
	flags.StringVar(&i.folder, "identity", "", "folder with svid.pem, key.pem and bundle.pem")
	flags.StringVar(&i.socket, "socket", "", "Workload API")
	flags.StringVar(&i.authorize, "authorize", "", "the SPIFFE ID that the peer must have")
}

func (i *identity) open(ctx context.Context) (x509svid.Source, x509bundle.Source, tlsconfig.Authorizer, error) {
	id, err := spiffeid.FromString(i.authorize)
	if err != nil {
		return nil, nil, nil, err
	}
	authorizer := tlsconfig.AuthorizeID(id)
	if i.socket != "" {
		options := workloadapi.WithClientOptions(workloadapi.WithAddr("unix://" + i.socket))
		source, err := workloadapi.NewX509Source(ctx, options)
		return source, source, authorizer, err
	}
	svid, err := x509svid.Load(filepath.Join(i.folder, "svid.pem"), filepath.Join(i.folder, "key.pem"))
	if err != nil {
		return nil, nil, nil, err
	}
	bundle, err := x509bundle.Load(svid.ID.TrustDomain(), filepath.Join(i.folder, "bundle.pem"))
	return svid, bundle, authorizer, err
}

// runServe is an HBONE server that echoes what each CONNECT brings.
func runServe(args []string) error {
	var own identity
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	own.register(flags)
	listen := flags.String("listen", "127.0.0.1:15008", "address")
	_ = flags.Parse(args)
	ctx := context.Background()
	svid, bundle, authorizer, err := own.open(ctx)
	if err != nil {
		return err
	}
	base := spiffetls.WithListenTLSConfigBase(&tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	mode := spiffetls.MTLSServerWithRawConfig(authorizer, svid, bundle)
	listener, err := spiffetls.ListenWithMode(ctx, "tcp", *listen, mode, base)
	if err != nil {
		return err
	}
	say(map[string]any{"ready": true})
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serveConn(conn)
	}
}

func serveConn(conn net.Conn) {
	defer conn.Close()
	// The first use shakes hands, and verifies.
	peer, err := spiffetls.PeerIDFromConn(conn)
	if err != nil {
		say(map[string]any{"refused": err.Error()})
		return
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		say(map[string]any{"peer": peer.String(), "method": r.Method, "authority": r.Host})
		w.WriteHeader(http.StatusOK)
		control := http.NewResponseController(w)
		_ = control.Flush()
		buffer := make([]byte, 64*1024)
		for {
			n, err := r.Body.Read(buffer)
			if n > 0 {
				_, _ = w.Write(buffer[:n])
				_ = control.Flush()
			}
			if err != nil {
				return
			}
		}
	}
	(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: http.HandlerFunc(handler)})
}

// runCall makes one HBONE call, sends text, and says what came of it.
func runCall(args []string) error {
	var own identity
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	own.register(flags)
	to := flags.String("to", "", "address of the HBONE server")
	authority := flags.String("authority", "", "where the CONNECT leads")
	text := flags.String("text", "hello", "what is sent; the same must come back")
	_ = flags.Parse(args)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	svid, bundle, authorizer, err := own.open(ctx)
	if err != nil {
		return err
	}
	base := spiffetls.WithDialTLSConfigBase(&tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	conn, err := spiffetls.DialWithMode(ctx, "tcp", *to, spiffetls.MTLSClientWithRawConfig(authorizer, svid, bundle), base)
	if err != nil {
		return err
	}
	defer conn.Close()
	peer, err := spiffetls.PeerIDFromConn(conn)
	if err != nil {
		return err
	}
	session, err := (&http2.Transport{}).NewClientConn(conn)
	if err != nil {
		return err
	}
	// An answer to a PING comes after the server's SETTINGS.
	if err := session.Ping(ctx); err != nil {
		return fmt.Errorf("HTTP/2: %w", err)
	}
	request := (&http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Host: *authority},
		Host:   *authority,
		Header: http.Header{},
		Body:   io.NopCloser(strings.NewReader(*text)),
	}).WithContext(ctx)
	response, err := session.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	echoed, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	say(map[string]any{"peer": peer.String(), "status": response.StatusCode, "echoed": string(echoed)})
	return nil
}
