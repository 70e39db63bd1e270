import { SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import {
  ByteReader,
  ByteWriter,
  decodeMessage,
  encodeMessage,
  type MessageType,
  masterReleases,
  type Protocol,
  protocolOf,
} from '../src/index.ts';
import { LiteralEncoder } from './literal-encoder.ts';
import { literalsOf0312, rpcs } from './vectors.ts';

const seed = Number(process.env['FUZZ_SEED'] ?? 20_261_125);
const rounds = Math.ceil(Number(process.env['FUZZ_FRAMES'] ?? 100_000) / 5_000);
const random = new SeededRandom(seed);
const below = (count: number) => random.uint32() % count;
const out = new ByteWriter();

/** A message of random content, by literal alone. Reads and writes it; gives both byte strings. */
function again(type: MessageType<unknown>, literal: Buffer, width: 1 | 2): readonly Buffer[] {
  const metainfo = width === 1 ? [] : [0x08];
  const head = Buffer.alloc(4);
  head.writeUInt32LE(type.code + metainfo.length);
  const value = new LiteralEncoder(literal, width, below).encode();
  const theirs = Buffer.concat([head, Buffer.from(metainfo), value]);
  const source = new ByteReader(theirs);
  const decoded = decodeMessage(source, type);
  expect(source.remaining).toBe(0);
  encodeMessage(out, type, decoded);
  return [theirs, out.take()];
}

function compare(type: MessageType<unknown>, literal: Buffer, what: string): void {
  for (let round = 0; round < rounds; round++) {
    const [theirs, ours] = again(type, literal, 1);
    if (theirs?.equals(ours as Buffer) !== true) {
      expect([what, ours?.toString('hex')]).toEqual([what, theirs?.toString('hex')]);
    }
    // A message may use wider lengths than it needs, which ours never does: those are read, not compared.
    again(type, literal, 2);
  }
}

describe('an encoder that knows type literals only', { timeout: 120_000 }, () => {
  it.each(masterReleases)('writes what the codecs of %s read and write alike', (release) => {
    for (const [name, { request, response }] of Object.entries(protocolOf(release) as Protocol)) {
      const theirs = {
        '0.3.12': literalsOf0312[name],
        '0.3.13': rpcs[name] && {
          request: rpcs[name].request_type_literal,
          response: rpcs[name].response_type_literal,
        },
      }[release as string] ?? {
        request: request?.literal.toString('hex') ?? null,
        response: response.literal.toString('hex'),
      };
      if (request !== null) {
        compare(
          request,
          Buffer.from(theirs.request as string, 'hex'),
          `${release} ${name} request`,
        );
      }
      compare(response, Buffer.from(theirs.response, 'hex'), `${release} ${name} response`);
    }
  });
});
