/** A fuzzer of everything in this package that reads bytes. */
import { Fault, SeededRandom } from '@tsukimi/base';
import { ByteReader } from './byte-reader.ts';
import { RequestParser, ResponseParser, readError } from './frame.ts';
import { masterProtocol } from './master-protocol.ts';
import { decodeArgs, type Protocol } from './protocol.ts';
import { decodeMessage } from './struct-pack.ts';

export interface FuzzOptions {
  readonly seed: number;
  readonly frameCount: number;
  /** Valid frames to spoil. */
  readonly requests: readonly Buffer[];
  readonly responses: readonly Buffer[];
}

export interface FuzzReport {
  readonly accepted: number;
  readonly refused: number;
}

const frameByteCountMax = 2 ** 20;
const methods = Object.values(masterProtocol as Protocol);
const methodById = new Map(methods.map((method) => [method.functionId, method]));

/**
 * Flips, cuts, repeats and overwrites bytes of valid frames and feeds them, cut anywhere, to parser and
 * codecs. Throws on any outcome but a value or a `MALFORMED` fault; the same for the same seed.
 */
export function fuzzFrames({ seed, frameCount, requests, responses }: FuzzOptions): FuzzReport {
  const random = new SeededRandom(seed);
  const below = (count: number) => random.uint32() % count;
  let accepted = 0;
  let refused = 0;
  for (let index = 0; index < frameCount; index++) {
    const isRequest = below(2) === 0;
    const originals = isRequest ? requests : responses;
    const spoiled = spoil(originals[below(originals.length)] as Buffer, below);
    const cut = below(spoiled.length + 1);
    const chunks = [spoiled.subarray(0, cut), spoiled.subarray(cut)];
    try {
      if (isRequest) readRequests(chunks);
      else readResponses(chunks, below);
      accepted += 1;
    } catch (error) {
      if (!Fault.has(error, 'MALFORMED')) {
        throw new Error(`seed ${seed}, frame ${index}: ${spoiled.toString('hex')}`, {
          cause: error,
        });
      }
      refused += 1;
    }
  }
  return { accepted, refused };
}

function readRequests(chunks: readonly Buffer[]): void {
  const parser = new RequestParser(frameByteCountMax);
  for (const { functionId, body } of chunks.flatMap((chunk) => parser.push(chunk))) {
    const method = methodById.get(functionId);
    if (method !== undefined) decodeArgs(method, body);
  }
}

function readResponses(chunks: readonly Buffer[], below: (count: number) => number): void {
  const parser = new ResponseParser(frameByteCountMax);
  for (const frame of chunks.flatMap((chunk) => parser.push(chunk))) {
    if (frame.error !== 0) {
      readError(frame);
      continue;
    }
    // A response does not name its call; the one of the same type code reads deepest.
    const code = frame.body.length < 4 ? 0 : (frame.body.readUInt32LE(0) & 0xfffffffe) >>> 0;
    const method =
      methods.find(({ response }) => response.code === code) ?? methods[below(methods.length)];
    if (method !== undefined) decodeMessage(new ByteReader(frame.body), method.response);
  }
}

function spoil(original: Buffer, below: (count: number) => number): Buffer {
  const bytes = Buffer.from(original);
  for (let count = below(4); count > 0; count--) {
    const at = below(bytes.length);
    switch (below(4)) {
      case 0:
        bytes[at] = (bytes[at] as number) ^ (1 << below(8));
        break;
      case 1:
        bytes[at] = below(256);
        break;
      case 2:
        bytes.fill(0xff, at, Math.min(bytes.length, at + 4));
        break;
      default:
        bytes.copyWithin(at, below(bytes.length));
    }
  }
  return below(8) === 0 ? bytes.subarray(0, below(bytes.length)) : bytes;
}
