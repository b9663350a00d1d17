// Asks an authority for a certificate as Istio's agents do: grpc-go, with the stubs of istio.io/api. Prints what came, as JSON.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	security "istio.io/api/security/v1alpha1"
)

type outcome struct {
	Code    uint32   `json:"code"`
	Message string   `json:"message"`
	URIs    []string `json:"uris"`
	Entries int      `json:"entries"`
	Seconds float64  `json:"seconds"`
	Group   string   `json:"group"`
	Trouble string   `json:"trouble"`
}

func main() {
	address := flag.String("address", "", "host:port")
	name := flag.String("name", "authority", "name that the server must have")
	roots := flag.String("roots", "", "file of roots")
	token := flag.String("token", "", "bearer token")
	kind := flag.String("key", "ecdsa", "ecdsa or rsa")
	impersonate := flag.String("impersonate", "", "identity that a node agent asks for")
	flag.Parse()
	result := ask(*address, *name, *roots, *token, *kind, *impersonate)
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func ask(address, name, roots, token, kind, impersonate string) outcome {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(roots)
	if err != nil || !pool.AppendCertsFromPEM(text) {
		return outcome{Trouble: fmt.Sprintf("roots: %v", err)}
	}
	csr, err := request(kind)
	if err != nil {
		return outcome{Trouble: err.Error()}
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(
		credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: name})))
	if err != nil {
		return outcome{Trouble: err.Error()}
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token, "clusterid", "Kubernetes")
	message := &security.IstioCertificateRequest{Csr: csr, ValidityDuration: 3600}
	if impersonate != "" {
		fields := map[string]*structpb.Value{"ImpersonatedIdentity": structpb.NewStringValue(impersonate)}
		message.Metadata = &structpb.Struct{Fields: fields}
	}
	var from peer.Peer
	answer, err := security.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, message, grpc.Peer(&from))
	if err != nil {
		return outcome{Code: uint32(status.Code(err)), Message: status.Convert(err).Message()}
	}
	result := check(answer.CertChain)
	if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
		result.Group = info.State.CurveID.String()
	}
	return result
}

func request(kind string) (string, error) {
	uri, _ := url.Parse("spiffe://cluster.local/ns/istio-system/sa/somebody-else")
	template := &x509.CertificateRequest{URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}
	var key any
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), err
}

// check verifies the chain by Go's own rules: the last entry holds the roots.
func check(chain []string) outcome {
	result := outcome{Entries: len(chain)}
	if len(chain) < 2 {
		result.Trouble = "a chain of less than two"
		return result
	}
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(chain[len(chain)-1]))
	for _, entry := range chain[1 : len(chain)-1] {
		between.AppendCertsFromPEM([]byte(entry))
	}
	block, _ := pem.Decode([]byte(chain[0]))
	if block == nil {
		result.Trouble = "the leaf is no PEM"
		return result
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		result.Trouble = err.Error()
		return result
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		options := x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}
		// Go marks a critical name in an empty subject as handled when it knows its kind.
		if _, err := leaf.Verify(options); err != nil {
			result.Trouble = err.Error()
		}
	}
	for _, uri := range leaf.URIs {
		result.URIs = append(result.URIs, uri.String())
	}
	result.Seconds = leaf.NotAfter.Sub(leaf.NotBefore).Seconds()
	return result
}
