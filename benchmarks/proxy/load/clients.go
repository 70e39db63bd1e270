package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const deadline = 30 * time.Second

// A connection of a client, kept while it works.
type client struct {
	target  string
	socket  net.Conn
	reader  *bufio.Reader
	request []byte
	body    []byte
}

func newClients(asked command, request []byte) []*client {
	clients := []*client{}
	for _, target := range asked.Targets {
		clients = append(clients, &client{target: target, request: request})
	}
	return clients
}

func requestOf(asked command) []byte {
	const sentence = "Once upon a time there was a proxy. "
	prompt := strings.Repeat(sentence, asked.PromptBytes/len(sentence)+1)[:asked.PromptBytes]
	body := fmt.Sprintf(`{"model":"%s","prompt":"%s","max_tokens":%d,"temperature":0,"stream":%t,"bench_gap_ms":%d}`,
		model, prompt, asked.Tokens, asked.Kind == "stream", asked.GapMs)
	return []byte(fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", len(body), body))
}

func (one *client) send() (head, error) {
	if one.socket == nil {
		socket, err := net.DialTimeout("tcp", one.target, deadline)
		if err != nil {
			return head{}, err
		}
		one.socket, one.reader = socket, bufio.NewReaderSize(socket, 16<<10)
	}
	one.socket.SetDeadline(time.Now().Add(deadline))
	if _, err := one.socket.Write(one.request); err != nil {
		return head{}, err
	}
	answer, err := readHead(one.reader)
	if err == nil && !bytes.HasPrefix(answer.line, []byte("HTTP/1.1 200")) {
		one.body, _ = readBody(one.reader, answer, one.body[:0])
		err = fmt.Errorf("%s: %.200s", answer.line, one.body)
	}
	return answer, err
}

func (one *client) close() {
	if one.socket != nil {
		one.socket.Close()
		one.socket = nil
	}
}

var errNoAnswer = errors.New("the answer is no completion")

func (one *client) whole() error {
	answer, err := one.send()
	if err == nil {
		one.body, err = readBody(one.reader, answer, one.body[:0])
	}
	if err == nil && !bytes.Contains(one.body, []byte(`"choices"`)) {
		err = errNoAnswer
	}
	if err != nil || answer.closes {
		one.close()
	}
	return err
}

// Reads a stream to its end; `firstAt` is when its first event came.
func (one *client) stream(tokens int) (firstAt time.Time, err error) {
	defer func() {
		if err != nil {
			one.close()
		}
	}()
	answer, err := one.send()
	if err != nil {
		return firstAt, err
	}
	if !answer.chunked {
		return firstAt, errFrame
	}
	text := one.body[:0]
	events := 0
	for {
		size, err := chunkSize(one.reader)
		if err != nil {
			return firstAt, err
		}
		if text, err = readExactly(one.reader, size, text); err != nil {
			return firstAt, err
		}
		if _, err = one.reader.Discard(2); err != nil {
			return firstAt, err
		}
		if size == 0 {
			break
		}
		if firstAt.IsZero() {
			firstAt = time.Now()
		}
		if end := bytes.LastIndex(text, []byte("\n\n")); end >= 0 {
			whole := text[:end+2]
			events += bytes.Count(whole, []byte("data: {"))
			if bytes.HasSuffix(whole, []byte("data: [DONE]\n\n")) {
				events += 1
			}
			text = text[:copy(text, text[end+2:])]
		}
	}
	one.body = text
	if events != tokens+1 {
		return firstAt, fmt.Errorf("%d of %d events of a stream", events, tokens+1)
	}
	if answer.closes {
		one.close()
	}
	return firstAt, nil
}

type tally struct {
	sync.Mutex
	result
	latencies []time.Duration
}

func (all *tally) add(tokens int, latency time.Duration, err error) {
	all.Lock()
	defer all.Unlock()
	if err != nil {
		all.Failures++
		all.Failure = err.Error()
		return
	}
	all.Requests++
	all.Tokens += tokens
	all.latencies = append(all.latencies, latency)
}

func load(asked command) result {
	all := &tally{}
	start := time.Now()
	until := start.Add(time.Duration(asked.Ms) * time.Millisecond)
	if asked.Kind == "open" {
		openLoop(asked, all, until)
	} else {
		closedLoop(asked, all, until)
	}
	all.Seconds = time.Since(start).Seconds()
	slices.Sort(all.latencies)
	all.P50Ms, all.P99Ms = percentile(all.latencies, 0.5), percentile(all.latencies, 0.99)
	return all.result
}

func percentile(sorted []time.Duration, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(share*float64(len(sorted)-1))].Microseconds()) / 1000
}

func closedLoop(asked command, all *tally, until time.Time) {
	request := requestOf(asked)
	var running sync.WaitGroup
	for at := 0; at < asked.Clients; at++ {
		// Streams with pauses begin one after the other, as they do in life.
		delay := time.Duration(asked.GapMs*asked.Tokens) * time.Millisecond * time.Duration(at) / time.Duration(asked.Clients)
		running.Add(1)
		go func() {
			defer running.Done()
			time.Sleep(delay)
			clients := newClients(asked, request)
			for time.Now().Before(until) {
				began := time.Now()
				if asked.Kind == "stream" {
					firstAt, err := clients[len(clients)-1].stream(asked.Tokens)
					all.add(asked.Tokens, firstAt.Sub(began), err)
				} else {
					err := eachWhole(clients)
					all.add(0, time.Since(began), err)
				}
			}
			for _, one := range clients {
				one.close()
			}
		}()
	}
	running.Wait()
}

func eachWhole(clients []*client) error {
	for _, one := range clients {
		if err := one.whole(); err != nil {
			return err
		}
	}
	return nil
}

func openLoop(asked command, all *tally, until time.Time) {
	request := requestOf(asked)
	random := rand.New(rand.NewSource(7))
	idle := make(chan []*client, 4096)
	var running sync.WaitGroup
	for next := time.Now(); next.Before(until); {
		next = next.Add(time.Duration(random.ExpFloat64() / float64(asked.RatePerS) * 1e9))
		time.Sleep(time.Until(next))
		running.Add(1)
		go func() {
			defer running.Done()
			var clients []*client
			select {
			case clients = <-idle:
			default:
				clients = newClients(asked, request)
			}
			began := time.Now()
			err := eachWhole(clients)
			all.add(0, time.Since(began), err)
			idle <- clients
		}()
	}
	running.Wait()
	close(idle)
	for clients := range idle {
		for _, one := range clients {
			one.close()
		}
	}
}

// Opens connections that have asked once and then only wait; tells how many are open afterwards.
func hold(held []net.Conn, asked command) ([]net.Conn, result) {
	measured := result{}
	buffer := make([]byte, 4096)
	for at := 0; at < asked.Clients; at++ {
		socket, err := net.DialTimeout("tcp", asked.Targets[0], deadline)
		if err == nil {
			socket.SetDeadline(time.Now().Add(deadline))
			if _, err = socket.Write([]byte("GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")); err == nil {
				_, err = socket.Read(buffer)
			}
		}
		if err != nil {
			measured.Failures++
			measured.Failure = err.Error()
			continue
		}
		held = append(held, socket)
	}
	time.Sleep(time.Duration(asked.Ms) * time.Millisecond)
	for _, socket := range held {
		socket.SetReadDeadline(time.Now().Add(100 * time.Microsecond))
		_, err := socket.Read(buffer)
		if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() {
			measured.Open++
		}
	}
	return held, measured
}
