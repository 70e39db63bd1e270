package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

const model = "bench"

// An instance as vLLM's server looks from outside, whose model computes nothing.
func serve(listener net.Listener, prefills bool) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go serveConnection(connection, prefills)
	}
}

func serveConnection(connection net.Conn, prefills bool) {
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 16<<10)
	var body []byte
	for {
		head, err := readHead(reader)
		if err != nil {
			return
		}
		method, path := requestLine(head.line)
		body, err = readBody(reader, head, body[:0])
		if err != nil {
			return
		}
		if method == "POST" && !bytes.HasPrefix(path, []byte("/v1/")) {
			err = answerJSON(connection, 404, `{"detail":"Not Found"}`)
		} else if method == "POST" {
			err = complete(connection, body, prefills)
		} else {
			err = tell(connection, string(path))
		}
		if err != nil || head.closes {
			return
		}
	}
}

func requestLine(line []byte) (string, []byte) {
	parts := bytes.SplitN(line, []byte(" "), 3)
	if len(parts) < 3 {
		return "", nil
	}
	path, _, _ := bytes.Cut(parts[1], []byte("?"))
	if bytes.Equal(parts[0], []byte("POST")) {
		return "POST", append([]byte(nil), path...)
	}
	return "GET", append([]byte(nil), path...)
}

func tell(to io.Writer, path string) error {
	switch path {
	case "/v1/models":
		return answerJSON(to, 200, `{"object":"list","data":[{"id":"`+model+`","object":"model","created":1764102140,"owned_by":"vllm","root":"`+model+`","parent":null,"max_model_len":131072,"permission":[]}]}`)
	case "/health", "/ping":
		return answerJSON(to, 200, "")
	case "/version":
		return answerJSON(to, 200, `{"version":"0.33.0"}`)
	case "/metrics":
		return answerJSON(to, 200, "vllm:num_requests_running{model_name=\""+model+"\"} 0.0\n")
	}
	return answerJSON(to, 404, `{"detail":"Not Found"}`)
}

func answerJSON(to io.Writer, status int, body string) error {
	reason := "OK"
	if status != 200 {
		reason = "Not Found"
	}
	_, err := fmt.Fprintf(to, "HTTP/1.1 %d %s\r\ndate: Tue, 25 Nov 2026 20:22:20 GMT\r\nserver: uvicorn\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n%s", status, reason, len(body), body)
	return err
}

const answerHead = `{"id":"cmpl-6b1f6f0a3c7e4d0b9c0de1d2a3b4c5d6","object":"text_completion","created":1764102140,"model":"` + model + `","choices":[{"index":0,"text":" and the moon","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":126,"total_tokens":130,"completion_tokens":4,"prompt_tokens_details":null},"kv_transfer_params":`

var plainAnswer = wholeAnswer(`null}`)

// What NIXL's prefill side tells, to whoever asks for it.
var nixlAnswer = wholeAnswer(`{"do_remote_prefill":true,"do_remote_decode":false,"remote_block_ids":[[1,2,3,4,5,6,7,8]],"remote_engine_id":"6f6b1c1e-0b52-4d53-9d43-1f1f8f1e7a11","remote_request_id":"cmpl-6b1f6f0a3c7e4d0b","remote_host":"127.0.0.1","remote_port":5600,"tp_size":1}}`)

func wholeAnswer(tail string) []byte {
	var answer bytes.Buffer
	answerJSON(&answer, 200, answerHead+tail)
	return answer.Bytes()
}

var streamHead = []byte("HTTP/1.1 200 OK\r\ndate: Tue, 25 Nov 2026 20:22:20 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")

func chunked(text string) []byte {
	return []byte(fmt.Sprintf("%x\r\n%s\r\n", len(text), text))
}

func frame(finish string, tail string) []byte {
	return chunked(`data: {"id":"cmpl-6b1f6f0a3c7e4d0b9c0de1d2a3b4c5d6","object":"text_completion","created":1764102140,"model":"` + model + `","choices":[{"index":0,"text":" moon","logprobs":null,"finish_reason":` + finish + `,"stop_reason":null` + tail + `}],"usage":null}` + "\n\n")
}

var (
	// By whether the client wants token ids, as vLLM writes them.
	tokenFrame = [2][]byte{frame("null", ""), frame("null", `,"token_ids":[24681]`)}
	lastFrame  = [2][]byte{frame(`"length"`, ""), frame(`"length"`, `,"token_ids":[24681]`)}
	doneFrame  = chunked("data: [DONE]\n\n")
	streamEnd  = []byte("0\r\n\r\n")
)

func complete(connection net.Conn, body []byte, prefills bool) error {
	if !asks(body, "stream") {
		if asks(body, "do_remote_decode") {
			_, err := connection.Write(nixlAnswer)
			return err
		}
		_, err := connection.Write(plainAnswer)
		return err
	}
	kind := 0
	if asks(body, "return_token_ids") {
		kind = 1
	}
	tokens := numberOf(body, "max_tokens", 16)
	// SGLang's routers send both legs the same body; its prefill side ends after one token of its own accord.
	if prefills && bytes.Contains(body, []byte(`"bootstrap_room":`)) {
		tokens = 1
	}
	gap := time.Duration(numberOf(body, "bench_gap_ms", 0)) * time.Millisecond
	if _, err := connection.Write(streamHead); err != nil {
		return err
	}
	next := time.Now()
	for at := 0; at < tokens; at++ {
		text := tokenFrame[kind]
		if at == tokens-1 {
			text = lastFrame[kind]
		}
		if _, err := connection.Write(text); err != nil {
			return err
		}
		if gap > 0 && at < tokens-1 {
			next = next.Add(gap)
			time.Sleep(time.Until(next))
		}
	}
	if _, err := connection.Write(doneFrame); err != nil {
		return err
	}
	_, err := connection.Write(streamEnd)
	return err
}

// Members of JSON that some proxy may have written anew, with or without a space.
func valueOf(body []byte, name string) []byte {
	_, after, found := bytes.Cut(body, []byte(`"`+name+`":`))
	if !found {
		return nil
	}
	return bytes.TrimLeft(after[:min(len(after), 24)], " ")
}

func asks(body []byte, name string) bool {
	return bytes.HasPrefix(valueOf(body, name), []byte("true"))
}

func numberOf(body []byte, name string, usual int) int {
	value := valueOf(body, name)
	end := 0
	for end < len(value) && value[end] >= '0' && value[end] <= '9' {
		end++
	}
	number, err := strconv.Atoi(string(value[:end]))
	if err != nil {
		return usual
	}
	return number
}
