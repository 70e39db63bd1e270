// Four instances and the clients that load a proxy in front of them, in one process, so that one core
// carries both and neither is what is measured. HTTP is written by hand: net/http would be slower than
// some of the proxies.
//
// The first line on standard output tells the instances' ports, the two for prefill first. Then each line on standard input is one
// command (see `command`), and each is answered by one line.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime/debug"
)

// One measurement. Counts of 0 mean "not this kind of load".
type command struct {
	// "closed": clients that ask again as soon as they are answered; "open": requests at a rate, whatever
	// the answers do; "stream": clients that read one stream after the other; "hold": idle connections
	// beside those that are held; "release": closes them.
	Kind string `json:"kind"`
	// Where requests go in turn: a proxy; or a prefill and a decode instance, each request to both.
	Targets     []string `json:"targets"`
	Clients     int      `json:"clients"`
	Ms          int      `json:"ms"`
	RatePerS    int      `json:"rate"`
	PromptBytes int      `json:"prompt_bytes"`
	Tokens      int      `json:"tokens"`
	// Between two tokens of a stream; 0 for as fast as it goes.
	GapMs int `json:"gap_ms"`
}

type result struct {
	Requests int     `json:"requests"`
	Tokens   int     `json:"tokens"`
	Failures int     `json:"failures"`
	Failure  string  `json:"failure"`
	Seconds  float64 `json:"seconds"`
	// Until the whole answer; of streams, until the first token.
	P50Ms float64 `json:"p50_ms"`
	P99Ms float64 `json:"p99_ms"`
	// Held connections that are open.
	Open int `json:"open"`
}

func main() {
	debug.SetGCPercent(400)
	ports := []int{}
	for i := 0; i < 4; i++ {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
		go serve(listener, i < 2)
	}
	answer := json.NewEncoder(os.Stdout)
	answer.Encode(ports)
	lines := bufio.NewScanner(os.Stdin)
	held := []net.Conn{}
	for lines.Scan() {
		var asked command
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		var measured result
		switch asked.Kind {
		case "hold":
			held, measured = hold(held, asked)
		case "release":
			for _, connection := range held {
				connection.Close()
			}
			held = nil
		default:
			measured = load(asked)
		}
		answer.Encode(measured)
	}
}
