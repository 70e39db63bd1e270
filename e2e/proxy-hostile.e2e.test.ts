import { connect } from 'node:net';
import { SeededRandom } from '@tsukimi/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FaultBench } from './fault-bench.ts';
import { fuzzedRequest } from './fuzzed-requests.ts';
import { HostileClients } from './hostile.ts';
import { descriptorCount, residentMegabytes } from './process-shape.ts';
import { sized } from './processes.ts';

const idleCount = sized({ smoke: 2_000, full: 10_000 });
const fuzzedCount = sized({ smoke: 10_000, full: 1_000_000 });
const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_126);
/** What a request that cannot be understood, or be served, may get; 408 where a chunk became so long that it never comes. */
const knownStatuses = new Set('200 400 404 405 408 411 413 414 415 417 431 501 505'.split(' '));
/** Resident, whatever is done to it; it starts at about 100. */
const megabytesMax = 250;

let bench: FaultBench;
let port: number;

/** Somebody who behaves, all the time: not one of these requests may fail. */
let undisturbed: Promise<string[]>;
let probing = true;

beforeAll(async () => {
  const vllm = { ours: false };
  bench = await FaultBench.start({ prefill: [{}, vllm], decode: [{}, vllm] });
  port = Number(new URL(bench.url).port);
  undisturbed = (async () => {
    const failures: string[] = [];
    while (probing) {
      const { failures: some } = await bench.load(1, 2);
      failures.push(...some);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return failures;
  })();
});

afterAll(async () => {
  probing = false;
  await undisturbed;
  await bench[Symbol.asyncDispose]();
});

/** All that comes back until the proxy closes, or has sent nothing for a while; as Latin-1. */
function exchanged(bytes: Buffer | string, quietMs = 3_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setTimeout(quietMs, () => socket.destroy());
    socket.on('data', (piece: Buffer) => (answer += piece.toString('latin1')));
    socket.on('error', () => {});
    socket.once('close', () => resolve(answer));
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  });
}

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
const post = (fields: string, body: string | Buffer, path = '/v1/completions') =>
  Buffer.concat([
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n${fields}\r\n`,
      'latin1',
    ),
    Buffer.from(body),
  ]);
const withLength = (body: string | Buffer) =>
  post(`Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n`, body);

describe('requests that could be read in two ways', () => {
  it.each([
    ['both lengths', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n')],
    ['two lengths', post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello!')],
    ['a bare LF', 'POST /v1/completions HTTP/1.1\nHost: h\nContent-Length: 0\n\n'],
    ['a bare LF in the head', 'GET /status HTTP/1.1\r\nHost: h\nX: y\r\n\r\n'],
    ['a folded line', 'GET /status HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n'],
    ['a NUL', 'GET /status HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n'],
    ['white space before the colon', 'GET /status HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n'],
    ['two hosts', 'GET /status HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n'],
    ['a chunk of no number', post('Transfer-Encoding: chunked\r\n', 'zz\r\n')],
    ['an encoding that is not known', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')],
  ])('are refused and the connection closed: %s', async (_, bytes) => {
    const smuggled = 'GET /status HTTP/1.1\r\nHost: smuggled\r\n\r\n';
    const answer = await exchanged(Buffer.concat([Buffer.from(bytes), Buffer.from(smuggled)]));
    expect([400, 501]).toContain(statusOf(answer));
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(answer).not.toContain('prefill_node_count');
  });
});

describe('bodies that mean harm', () => {
  it.each([
    ['nested too deeply', `{"prompt":${'['.repeat(100_000)}`, 400],
    ['nested too deeply, and closed', `{"prompt":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, 400],
    ['of invalid UTF-8', Buffer.from('{"prompt":"\xff\xfe"}', 'latin1'), 400],
    ['of a hundred thousand members', `{${'"a":1,'.repeat(100_000)}"b":1}`, 400],
    ['that ends too early', '{"prompt":"a', 400],
    ['that is no object', '[1,2]', 400],
  ])('%s get their status', async (_, body, status) => {
    expect(statusOf(await exchanged(withLength(body)))).toBe(status);
  });

  it('of 100 MB are refused by their length, and not read', async () => {
    const answer = await exchanged(post('Content-Length: 100000000\r\n', 'x'.repeat(1_000)));
    expect(statusOf(answer)).toBe(413);
  });

  it('of 100 MB without a length are refused once they are too long', async () => {
    const chunk = Buffer.concat([
      Buffer.from('100000\r\n'),
      Buffer.alloc(2 ** 20, 0x20),
      Buffer.from('\r\n'),
    ]);
    const body = Buffer.concat(Array.from({ length: 100 }, () => chunk));
    expect(statusOf(await exchanged(post('Transfer-Encoding: chunked\r\n', body), 10_000))).toBe(
      413,
    );
    expect(residentMegabytes(bench.proxyPid)).toBeLessThan(megabytesMax);
  });
});

describe('clients that do nothing, or too slowly', () => {
  it('may be thousands, and take little memory', async () => {
    using clients = new HostileClients();
    await clients.idle(port, idleCount);
    // It came last, so all the others have been accepted, or turned away, once it is answered.
    expect(statusOf(await exchanged(withLength('{"model":"tsukimi-demo","prompt":"a"}')))).toBe(
      200,
    );
    expect(clients.openCount).toBe(idleCount);
    expect(descriptorCount(bench.proxyPid)).toBeGreaterThan(idleCount);
    expect(residentMegabytes(bench.proxyPid)).toBeLessThan(megabytesMax);
  });

  it('are told so, and shed, while their request does not come', async () => {
    using clients = new HostileClients();
    const slow = [
      clients.slowly(port, Buffer.from('POST /v1/completions HTTP/1.1\r\nHost: h\r\nX: '), 0x61),
      clients.slowly(port, post('Content-Length: 1000\r\n', '{"prompt":"'), 0x61),
    ];
    expect((await Promise.all(slow)).map(statusOf)).toEqual([408, 408]);
  }, 120_000);
});

describe('fuzzed requests', () => {
  it(`${fuzzedCount} of them (seed ${seed}) are answered or refused, and nothing grows`, async () => {
    const random = new SeededRandom(seed);
    const counts = new Map<string, number>();
    const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
    const wrong: string[] = [];
    let reachedCount = 0;
    let left = fuzzedCount;
    const client = async () => {
      while (left > 0) {
        left -= 1;
        const { kind, bytes } = fuzzedRequest(random);
        const answer = await exchanged(bytes, 60_000);
        const statuses = [...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(
          ([, status]) => status ?? '',
        );
        for (const status of statuses) count(`${kind} ${status}`);
        if (/^x-tsukimi-decode: /im.test(answer)) reachedCount += 1;
        // Each connection ends with an answer to its last request, or with the refusal of what came before it.
        const known = statuses.length > 0 && statuses.every((status) => knownStatuses.has(status));
        if (!known) wrong.push(JSON.stringify([bytes.toString('latin1'), answer]));
      }
    };
    await Promise.all(Array.from({ length: 64 }, client));
    const megabytes = residentMegabytes(bench.proxyPid);
    process.stdout.write(
      `${fuzzedCount} fuzzed requests, seed ${seed}: ${[...counts]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([what, times]) => `${what} × ${times}`)
        .join(', ')}; ${reachedCount} reached an instance; ${megabytes} MB\n`,
    );
    expect(wrong.slice(0, 3)).toEqual([]);
    expect(reachedCount).toBeGreaterThan(fuzzedCount / 4);
    expect(megabytes).toBeLessThan(megabytesMax);
  }, 1_800_000);
});

it('all the while, nobody else was disturbed', async () => {
  probing = false;
  expect(await undisturbed).toEqual([]);
});
