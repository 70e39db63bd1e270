import { describe, expect, it } from 'vitest';
import {
  ByteReader,
  ByteWriter,
  decodeArgs,
  decodeMessage,
  encodeArgs,
  encodeMessage,
  type Protocol,
  protocolOf,
  RequestParser,
  ResponseParser,
  readError,
  writeErrorResponse,
  writeRequest,
  writeResponse,
} from '../src/index.ts';
import { captured, rpcs, type Vector, vectors } from './vectors.ts';

const protocol = protocolOf('0.3.13') as Protocol;
const methodById = new Map(
  Object.entries(protocol).map(([name, method]) => [method.functionId, { name, method }]),
);

/** Our values in the notation of the vectors: snake case, ids as pairs, large integers as text. */
function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint')
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value);
  if (typeof value === 'string') {
    const halves = /^(\d+)-(\d+)$/.exec(value);
    return halves === null ? value : halves.slice(1).map((half) => plain(BigInt(half)));
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  if ('kind' in value) {
    const { kind, ...rest } = value;
    const kinds = ['memory', 'nof', 'disk', 'localDisk', 'dfs'];
    return { index: kinds.indexOf(kind as string), value: plain(rest) };
  }
  const names: Record<string, string> = {
    location: 'descriptor_variant',
    buffer: 'buffer_descriptor',
    error: 'err',
  };
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      names[name] ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      plain(inner),
    ]),
  );
}

const hex = (bytes: Buffer) => bytes.toString('hex');
const sequenceOf = ({ frame_hex }: Vector) => Buffer.from(frame_hex, 'hex').readUInt32LE(4);

/** Decodes the frame, compares its value, and writes it again. */
function throughUs(vector: Vector, frameHex: string, withLiteral: boolean): string {
  const frame = Buffer.from(frameHex, 'hex');
  const out = new ByteWriter();
  if (vector.direction === 'request') {
    const [request] = new RequestParser(2 ** 20).push(frame);
    const { method } = methodById.get(request?.functionId as number) as {
      method: Protocol[string];
    };
    const args = decodeArgs(method, new ByteReader(request?.body as Buffer));
    // An argument that came with a later release reads as what is meant without it.
    const later = Object.is(method, protocol['BatchReplicaClear']) ? ['default'] : [];
    expect(plain(args)).toEqual([...(vector.value as unknown[]), ...later]);
    writeRequest(out, sequenceOf(vector), method.functionId, () =>
      encodeArgs(out, method, args, { withLiteral }),
    );
    return hex(out.take());
  }
  const [response] = new ResponseParser(2 ** 20).push(frame);
  if (response === undefined) throw new Error('no frame');
  if (response.error !== 0) {
    const { code, message } = readError(response);
    expect([code, message]).toEqual([vector.rpc_error, vector.value]);
    writeErrorResponse(out, response.sequence, code, message);
    return hex(out.take());
  }
  const { method } = methodById.get(vector.function_id as number) as { method: Protocol[string] };
  const value = decodeMessage(new ByteReader(response.body), method.response);
  expect(plain(value)).toEqual(vector.value);
  writeResponse(out, response.sequence, 0, () =>
    encodeMessage(out, method.response, value, { withLiteral }),
  );
  return hex(out.take());
}

describe('the 64 calls of the master', () => {
  it('have the numbers and type codes of the original', () => {
    const ours = Object.fromEntries(
      Object.entries(protocol).map(([name, { functionId, request, response }]) => [
        name,
        [
          functionId,
          request?.code ?? null,
          request === null ? null : hex(request.literal),
          response.code,
          hex(response.literal),
        ],
      ]),
    );
    const theirs = Object.fromEntries(
      Object.entries(rpcs).map(([name, row]) => [
        name,
        [
          row.function_id,
          row.request_type_code,
          row.request_type_literal,
          row.response_type_code,
          row.response_type_literal,
        ],
      ]),
    );
    expect(Object.keys(theirs)).toHaveLength(64);
    expect(ours).toEqual(theirs);
  });
});

describe('messages compiled from the original', () => {
  it('are 98', () => {
    expect(vectors).toHaveLength(98);
  });

  it.each(vectors.map((vector) => [vector.name, vector.direction, vector] as const))(
    '%s (%s) is read and written byte for byte, with and without literal',
    (_name, _direction, vector) => {
      const plainFrame = vector.frame_hex_no_literal as string;
      // We never send a literal with an error, and no map has an order to keep but the one it came in.
      if ((vector.rpc_error ?? 0) === 0) {
        expect(throughUs(vector, vector.frame_hex, true)).toBe(vector.frame_hex);
      } else expect(throughUs(vector, vector.frame_hex, false)).toBe(plainFrame);
      expect(throughUs(vector, plainFrame, false)).toBe(plainFrame);
    },
  );
});

describe('a recorded session of the original', () => {
  it('is read and written byte for byte', () => {
    const written = captured.map((vector) => throughUs(vector, vector.frame_hex, true));
    expect(written.length).toBeGreaterThan(100);
    expect(written).toEqual(captured.map(({ frame_hex }) => frame_hex));
  });
});
