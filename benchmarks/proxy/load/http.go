package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
)

// What of a message's head matters here.
type head struct {
	line    []byte
	length  int // -1 when not told
	chunked bool
	closes  bool
}

var errFrame = errors.New("not HTTP/1.1 as it should be")

func readHead(reader *bufio.Reader) (head, error) {
	found := head{length: -1}
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return found, err
	}
	found.line = append(found.line, bytes.TrimRight(line, "\r\n")...)
	for {
		line, err = reader.ReadSlice('\n')
		if err != nil {
			return found, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return found, nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return found, errFrame
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		// Few names have these lengths, so that few are compared.
		switch {
		case colon == 14 && bytes.EqualFold(name, []byte("content-length")):
			if found.length, err = strconv.Atoi(string(value)); err != nil {
				return found, errFrame
			}
		case colon == 17 && bytes.EqualFold(name, []byte("transfer-encoding")):
			found.chunked = true
		case colon == 10 && bytes.EqualFold(name, []byte("connection")):
			found.closes = bytes.EqualFold(value, []byte("close"))
		}
	}
}

// Appends the body to `into`.
func readBody(reader *bufio.Reader, message head, into []byte) ([]byte, error) {
	if !message.chunked {
		if message.length <= 0 {
			return into, nil
		}
		return readExactly(reader, message.length, into)
	}
	for {
		size, err := chunkSize(reader)
		if err != nil {
			return into, err
		}
		if into, err = readExactly(reader, size, into); err != nil {
			return into, err
		}
		if _, err = reader.Discard(2); err != nil || size == 0 {
			return into, err
		}
	}
}

func chunkSize(reader *bufio.Reader) (int, error) {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
	return int(size), err
}

func readExactly(reader *bufio.Reader, count int, into []byte) ([]byte, error) {
	start := len(into)
	if cap(into)-start < count {
		grown := make([]byte, start, start+count+4096)
		copy(grown, into)
		into = grown
	}
	into = into[:start+count]
	_, err := io.ReadFull(reader, into[start:])
	return into, err
}
