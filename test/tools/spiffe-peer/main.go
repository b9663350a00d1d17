// Command spiffe-peer stands on the other side of Culvert in tests, with nothing of Culvert in it: it is made of go-spiffe, the
// implementation of the SPIFFE standards by their authors.
//
//	spiffe-peer api -control PATH -workload SOCKET=ID[#HINT][,ID[#HINT]...] ...   a SPIFFE Workload API
//	spiffe-peer serve -identity FOLDER|-socket PATH -authorize ID ...            an HBONE server that echoes
//	spiffe-peer call -identity FOLDER|-socket PATH -authorize ID ...             one HBONE call
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("expected api, serve or call")
	}
	var err error
	switch os.Args[1] {
	case "api":
		err = runAPI(os.Args[2:])
	case "serve":
		err = runServe(os.Args[2:])
	case "call":
		err = runCall(os.Args[2:])
	default:
		err = fmt.Errorf("expected api, serve or call, not %q", os.Args[1])
	}
	if err != nil {
		fail(err.Error())
	}
}

// say writes one line that the test reads.
func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		fail(err.Error())
	}
	fmt.Println(string(line))
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, "spiffe-peer: "+text)
	os.Exit(1)
}
