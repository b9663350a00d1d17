// Makes and takes gRPC calls in numbers, for benches: grpc-go, with the messages of its interoperability tests. Prints what came, as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

type outcome struct {
	Calls     int     `json:"calls"`
	PerSecond float64 `json:"perSecond"`
	P50Ms     float64 `json:"p50Ms"`
	P99Ms     float64 `json:"p99Ms"`
}

// One sequence of calls: each begins when the one before it has ended.
type caller func(ctx context.Context) error

func main() {
	listen := flag.String("listen", "", "host:port,… to serve at, in place of calling")
	to := flag.String("to", "", "host:port to call")
	kind := flag.String("kind", "unary", "unary, or streaming: messages there and back on streams that stay open")
	connections := flag.Int("connections", 4, "connections")
	inFlight := flag.Int("in-flight", 32, "calls in flight, over all connections")
	seconds := flag.Float64("seconds", 1, "how long")
	rate := flag.Float64("rate", 0, "calls a second over all; 0: as many as there is room for")
	size := flag.Int("size", 100, "bytes of each payload")
	flag.Parse()
	if *listen != "" {
		fail(serve(*listen))
	}
	result, err := load(*to, *kind, *connections, *inFlight, *rate, *size, time.Duration(*seconds*float64(time.Second)))
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serve(listen string) error {
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	ended := make(chan error)
	for address := range strings.SplitSeq(listen, ",") {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() { ended <- server.Serve(listener) }()
	}
	return <-ended
}

func load(to, kind string, connections, inFlight int, rate float64, size int, duration time.Duration) (outcome, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	callers := []caller{}
	for range connections {
		connection, err := grpc.NewClient(to, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return outcome{}, err
		}
		defer connection.Close()
		client := testgrpc.NewTestServiceClient(connection)
		for range inFlight / connections {
			call, err := callerOf(ctx, client, kind, size)
			if err != nil {
				return outcome{}, err
			}
			callers = append(callers, call)
		}
	}
	times := make([][]time.Duration, len(callers))
	errs := make([]error, len(callers))
	begun := time.Now()
	var all sync.WaitGroup
	for i, call := range callers {
		all.Go(func() {
			times[i], errs[i] = repeat(ctx, call, begun, duration, rate/float64(len(callers)), float64(i)/float64(len(callers)))
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return outcome{}, err
		}
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	if len(sorted) == 0 {
		return outcome{}, errors.New("no call came to an end")
	}
	at := func(share float64) float64 {
		return float64(sorted[int(share*float64(len(sorted)-1))].Microseconds()) / 1000
	}
	return outcome{len(sorted), float64(len(sorted)) / time.Since(begun).Seconds(), at(0.5), at(0.99)}, nil
}

// Calls again and again; at a rate, the first call is put off by `phase` of the time between two.
func repeat(ctx context.Context, call caller, begun time.Time, duration time.Duration, rate, phase float64) ([]time.Duration, error) {
	times := []time.Duration{}
	for n := 0; ; n++ {
		due := time.Now()
		if rate > 0 {
			due = begun.Add(time.Duration((float64(n) + phase) / rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
		if time.Since(begun) >= duration {
			return times, nil
		}
		if err := call(ctx); err != nil {
			return nil, err
		}
		times = append(times, time.Since(due))
	}
}

func callerOf(ctx context.Context, client testgrpc.TestServiceClient, kind string, size int) (caller, error) {
	payload := &testgrpc.Payload{Body: make([]byte, size)}
	if kind == "unary" {
		request := &testgrpc.SimpleRequest{Payload: payload, ResponseSize: int32(size)}
		return func(ctx context.Context) error {
			_, err := client.UnaryCall(ctx, request)
			return err
		}, nil
	}
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		return nil, err
	}
	request := &testgrpc.StreamingOutputCallRequest{
		Payload:            payload,
		ResponseParameters: []*testgrpc.ResponseParameters{{Size: int32(size)}},
	}
	return func(context.Context) error {
		if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		_, err := stream.Recv()
		return err
	}, nil
}
