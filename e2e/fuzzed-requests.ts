import { below, type Random } from '@tsukimi/base';

/** `framing`: bytes of the whole are changed; `text`: those of its JSON; `members`: values in it. */
type FuzzKind = 'framing' | 'text' | 'members';

export interface FuzzedRequest {
  readonly kind: FuzzKind;
  readonly bytes: Buffer;
}

const completion = { model: 'tsukimi-demo', prompt: 'ab', max_tokens: 4 };
const message = { role: 'user', content: 'Why "月"?' };
const chat = { model: 'tsukimi-demo', messages: [message], max_completion_tokens: 4 };
const bodies: readonly (readonly [path: string, body: Readonly<Record<string, unknown>>])[] = [
  ['/v1/completions', completion],
  ['/v1/completions', { ...completion, stream: true, stream_options: { include_usage: true } }],
  [
    '/v1/completions',
    { ...completion, n: 1, seed: 9_007_199_254_740_993n.toString(), stop: ['x'] },
  ],
  ['/v1/chat/completions', chat],
  ['/v1/chat/completions', { ...chat, stream: true, tools: [], return_token_ids: true }],
];
const values: readonly string[] = [
  ...['null', 'true', 'false', '0', '-1', '1', '1e400', '-0.0', '18446744073709551615', '0.1e-9'],
  ...['""', '"a"', '"\\ud800"', '"\\u0000"', '"月"', '[]', '{}', '[[]]', '[1,2,3]', '["a","b"]'],
  ...['{"a":{"b":[null]}}', '{"prompt_token_ids":[1,2]}', '"\\"},{\\"model\\":"'],
  `"${'x'.repeat(5_000)}"`,
  `${'['.repeat(60)}${']'.repeat(60)}`,
];
const names = [
  ...['model', 'prompt', 'messages', 'max_tokens', 'max_completion_tokens', 'stream', 'n', 'echo'],
  ...['stream_options', 'kv_transfer_params', 'return_token_ids', 'temperature', 'seed', 'user'],
  ...['session_id', 'cache_salt', 'prefix', '\\u006dodel', '', '__proto__', 'tsukimi_resume'],
];
const tricks = ['\r', '\n', '\0', ' ', ':', '{', '"', '\xff', '0\r\n', 'chunked', ',', '\\u00'];
const whole = [
  framed('/v1/completions', JSON.stringify(completion)).toString('latin1'),
  'POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
  'GET /status HTTP/1.1\r\nHost: h\r\n\r\n',
  'GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n',
];
const last = 'GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n';

/**
 * The bytes of one connection: a request that means harm, or is broken, and one that closes the connection.
 * Behind it is as much as a length asks for that became longer, so that nothing is left to wait for.
 */
export function fuzzedRequest(random: Random): FuzzedRequest {
  const dice = below(random, 4);
  if (dice < 2) {
    const text = mutated(random, pick(random, whole));
    const length = Number(/Content-Length: *(\d{1,6})/i.exec(text)?.[1] ?? 0);
    return {
      kind: 'framing',
      bytes: Buffer.from(text + last + ' '.repeat(length > 60 ? length : 0), 'latin1'),
    };
  }
  const [path, body] = pick(random, bodies);
  const kind = dice === 2 ? 'text' : 'members';
  const json =
    kind === 'text' ? mutated(random, JSON.stringify(body)) : withOtherMembers(random, body);
  return { kind, bytes: Buffer.concat([framed(path, json), Buffer.from(last)]) };
}

function framed(path: string, json: string): Buffer {
  const body = Buffer.from(json);
  const head = `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function mutated(random: Random, whole: string): string {
  let text = whole;
  for (let left = 1 + below(random, 3); left > 0; left -= 1) {
    const at = below(random, text.length);
    const cut = below(random, 2) === 0 ? 0 : below(random, 12);
    text = text.slice(0, at) + pick(random, tricks) + text.slice(at + cut);
  }
  return text;
}

/** Well-formed JSON in which some members have other values, are there twice, or are new. */
function withOtherMembers(random: Random, body: Readonly<Record<string, unknown>>): string {
  const members = Object.entries(body).map(([name, value]) => [name, JSON.stringify(value)]);
  for (let left = 1 + below(random, 3); left > 0; left -= 1) {
    const value = pick(random, values);
    if (below(random, 2) === 0) (pick(random, members) as string[])[1] = value;
    else members.splice(below(random, members.length + 1), 0, [pick(random, names), value]);
  }
  return `{${members.map(([name, value]) => `"${name}":${value}`).join(',')}}`;
}

function pick<T>(random: Random, all: readonly T[]): T {
  return all[below(random, all.length)] as T;
}
