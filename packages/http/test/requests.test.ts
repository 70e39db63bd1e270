import { describe, expect, it } from 'vitest';
import { readRequests } from './read-requests.ts';

const get = (lines: string) => `GET / HTTP/1.1\r\nHost: h\r\n${lines}\r\n`;
const post = (lines: string, body: string) => `POST /a HTTP/1.1\r\nHost: h\r\n${lines}\r\n${body}`;
const chunks = (body: string) => post('Transfer-Encoding: chunked\r\n', body);

describe('requests', () => {
  it.each([
    ['no body', get('A: b\r\n'), ''],
    ['no white space', get('A:b\r\n'), ''],
    ['a length', post('Content-Length: 3\r\n', 'abc'), 'abc'],
    ['chunks', chunks('3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n'), 'abcd'],
    ['chunks with names in other cases', post('tRANSFER-eNCODING: Chunked\r\n', '0\r\n\r\n'), ''],
    ['extensions of chunks', chunks('3;a;b=c\r\nabc\r\n0;last\r\n\r\n'), 'abc'],
    ['trailers', chunks('1\r\na\r\n0\r\nX: y\r\nZ: w\r\n\r\n'), 'a'],
    ['an empty line before', `\r\n${get('')}`, ''],
    ['upper-case sizes', chunks('A\r\n0123456789\r\n0\r\n\r\n'), '0123456789'],
    ['an IPv6 host', 'GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n', ''],
    ['a whole URL', 'GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n', ''],
    ['HTTP/1.0 without a host', 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', ''],
  ])('are read with %s, wherever they are cut', (_, text, body) => {
    const whole = readRequests(text + text);
    expect(whole.refusal).toBeNull();
    expect(whole.requests.map((request) => request.body)).toEqual([body, body]);
    for (let at = 1; at < text.length; at += 1) {
      expect(readRequests(text + text, [at, text.length, text.length + at])).toEqual(whole);
    }
    const bytewise = Array.from({ length: 2 * text.length - 1 }, (__, at) => at + 1);
    expect(readRequests(text + text, bytewise)).toEqual(whole);
  });

  it('have their fields by name in lower case, joined when there are several', () => {
    const { requests } = readRequests(get('X-A: \t1 \t\r\nx-a: 2\r\n__proto__: p\r\nEmpty:\r\n'));
    expect({ ...requests[0]?.headers }).toEqual(
      Object.fromEntries([
        ['host', 'h'],
        ['x-a', '1, 2'],
        ['__proto__', 'p'],
        ['empty', ''],
      ]),
    );
  });

  it.each([
    [
      'both ways to tell the length',
      post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', ''),
      400,
    ],
    ['two lengths', post('Content-Length: 5\r\nContent-Length: 6\r\n', ''), 400],
    ['the same length twice', post('Content-Length: 5\r\nContent-Length: 5\r\n', ''), 400],
    ['a list of lengths', post('Content-Length: 5, 5\r\n', ''), 400],
    ['a signed length', post('Content-Length: +5\r\n', ''), 400],
    ['a negative length', post('Content-Length: -5\r\n', ''), 400],
    ['a hexadecimal length', post('Content-Length: 0x5\r\n', ''), 400],
    ['an empty length', post('Content-Length:\r\n', ''), 400],
    ['a length beyond all numbers', post(`Content-Length: ${'9'.repeat(30)}\r\n`, ''), 400],
    [
      'chunked twice',
      post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', ''),
      400,
    ],
    ['chunked not last', post('Transfer-Encoding: chunked, gzip\r\n', ''), 400],
    ['a coding that is not known', post('Transfer-Encoding: gzip, chunked\r\n', ''), 501],
    ['almost chunked', post('Transfer-Encoding: xchunked\r\n', ''), 400],
    ['chunked before a tab', post('Transfer-Encoding: chunked\t\r\n', ''), 400],
    ['chunked behind a vertical tab', post('Transfer-Encoding: \vchunked\r\n', ''), 400],
    ['white space before a colon', get('Content-Length : 5\r\n'), 400],
    ['a folded line', get('A: b\r\n c: d\r\n'), 400],
    ['a line folded at once', 'GET / HTTP/1.1\r\n Host: h\r\n\r\n', 400],
    ['a bare LF behind a field', get('A: b\nC: d\r\n'), 400],
    ['bare LFs alone', 'GET / HTTP/1.1\nHost: h\n\n', 400],
    ['a bare CR within a field', get('A: b\rC: d\r\n'), 400],
    ['a zero byte', get('A: b\0c\r\n'), 400],
    ['a line without colon', get('nonsense\r\n'), 400],
    ['an empty name', get(': b\r\n'), 400],
    ['a name that is no token', get('A(b): c\r\n'), 400],
    ['no host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two hosts', get('Host: other\r\n'), 400],
    ['a host that is none', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
    ['an unknown method', 'GEX / HTTP/1.1\r\nHost: h\r\n\r\n', 400],
    ['a target that is none', 'GET x HTTP/1.1\r\nHost: h\r\n\r\n', 400],
    ['a target with white space', 'GET /a b HTTP/1.1\r\nHost: h\r\n\r\n', 400],
    ['two spaces', 'GET  / HTTP/1.1\r\nHost: h\r\n\r\n', 400],
    ['another version', 'GET / HTTP/2.0\r\nHost: h\r\n\r\n', 505],
    ['no version', 'GET /\r\nHost: h\r\n\r\n', 400],
    ['no HTTP', '\x16\x03\x01\x02\x00\x01', 400],
    ['chunks over HTTP/1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    ['a chunk without size', chunks('\r\n'), 400],
    ['a signed chunk', chunks('+3\r\nabc\r\n'), 400],
    ['a chunk of 0x3', chunks('0x3\r\nabc\r\n'), 400],
    ['a chunk of nine digits', chunks('000000003\r\nabc\r\n'), 400],
    ['white space behind a size', chunks('3 \r\nabc\r\n'), 400],
    ['a chunk longer than it says', chunks('3\r\nabcd\r\n'), 400],
    ['a bare LF behind a size', chunks('3\nabc\r\n'), 400],
    ['a bare LF behind a chunk', chunks('3\r\nabc\n0\r\n\r\n'), 400],
    ['a bare LF in an extension', chunks('3;a\nb\r\nabc\r\n'), 400],
    ['a bare CR in an extension', chunks('3;a\rb\r\nabc\r\n'), 400],
    ['a quoted extension', chunks('3;a="\r\n"\r\nabc\r\n'), 400],
    ['an extension of two values', chunks('3;a=b=c\r\nabc\r\n'), 400],
    ['an endless extension', chunks(`3;${'a'.repeat(2_000)}`), 413],
    ['extensions of many chunks', chunks(`1;${'a'.repeat(500)}\r\nx\r\n`.repeat(3)), 413],
    ['endless trailers', chunks(`0\r\n${'A: b\r\n'.repeat(100)}`), 431],
    ['a malformed trailer', chunks('0\r\nA b\r\n\r\n'), 400],
    ['a length in a trailer', chunks('0\r\nContent-Length: 1\r\n\r\n'), 400],
    ['a long first line', `GET /${'x'.repeat(20_000)}`, 414],
    ['a long field', get(`A: ${'x'.repeat(20_000)}\r\n`), 431],
    ['many fields', get('A: b\r\n'.repeat(200)), 431],
  ])('are refused with %s, wherever they are cut', (_, text, status) => {
    expect(readRequests(text)).toMatchObject({ requests: [], refusal: { status } });
    const step = Math.ceil(text.length / 200);
    for (let at = 1; at < text.length; at += step) {
      expect(readRequests(text, [at])).toMatchObject({ requests: [], refusal: { status } });
    }
  });
});
