import { deepStrictEqual } from 'node:assert';
import { Fault, SeededRandom } from '@tsukimi/base';
import {
  ByteReader,
  ByteWriter,
  decodeArgs,
  decodeMessage,
  encodeArgs,
  encodeMessage,
  masterProtocol,
  type Protocol,
  RequestParser,
  ResponseParser,
  readError,
} from '../src/index.ts';
import { framesOf } from './vectors.ts';

export interface FuzzReport {
  /** Frames of which a value was read; it was written and read again, and stayed the same. */
  readonly read: number;
  readonly refused: number;
  /** Frames that went on beyond their bytes, or named a call that does not exist. */
  readonly unread: number;
}

type Outcome = keyof FuzzReport;
type Below = (count: number) => number;

const frameByteCountMax = 2 ** 20;
const methods = Object.values(masterProtocol as Protocol);
const methodById = new Map(methods.map((method) => [method.functionId, method]));
const out = new ByteWriter();

/**
 * Spoils `frames` messages of the original and feeds them, cut anywhere, to parsers and codecs. Throws
 * on any outcome but a sound value or a `MALFORMED` fault. The same for the same seed.
 */
export function fuzzCodecs({ seed, frames }: { seed: number; frames: number }): FuzzReport {
  const random = new SeededRandom(seed);
  const below: Below = (count) => random.uint32() % count;
  const kinds = [
    { originals: framesOf('request'), lengthAt: 12, read: readRequests },
    { originals: framesOf('response'), lengthAt: 8, read: readResponses },
  ];
  const report = { read: 0, refused: 0, unread: 0 };
  for (let index = 0; index < frames; index++) {
    const { originals, lengthAt, read } = kinds[below(2)] as (typeof kinds)[number];
    const spoiled = spoil(originals[below(originals.length)] as Buffer, lengthAt + 8, below);
    // An honest length lets what is spoiled in the body get past the parser.
    const isHonest = below(4) > 0 && spoiled.length >= lengthAt + 8;
    if (isHonest) spoiled.writeBigUInt64LE(BigInt(spoiled.length - lengthAt - 8), lengthAt);
    const cut = below(spoiled.length + 1);
    try {
      report[read([spoiled.subarray(0, cut), spoiled.subarray(cut)], below)] += 1;
    } catch (error) {
      if (!Fault.has(error, 'MALFORMED')) {
        const message = `seed ${seed}, frame ${index}: ${spoiled.toString('hex')}`;
        throw new Error(message, { cause: error });
      }
      report.refused += 1;
    }
  }
  return report;
}

function readRequests(chunks: readonly Buffer[]): Outcome {
  const parser = new RequestParser(frameByteCountMax);
  let outcome: Outcome = 'unread';
  for (const { functionId, body } of chunks.flatMap((chunk) => parser.push(chunk))) {
    const method = methodById.get(functionId);
    if (method === undefined) continue;
    outcome = 'read';
    checkSound(
      decodeArgs(method, new ByteReader(body)),
      (args) => encodeArgs(out, method, args),
      (bytes) => decodeArgs(method, new ByteReader(bytes)),
    );
  }
  return outcome;
}

function readResponses(chunks: readonly Buffer[], below: Below): Outcome {
  const parser = new ResponseParser(frameByteCountMax);
  let outcome: Outcome = 'unread';
  for (const frame of chunks.flatMap((chunk) => parser.push(chunk))) {
    outcome = 'read';
    if (frame.error !== 0) {
      readError(frame);
      continue;
    }
    // A response does not name its call; the one of the same type code reads deepest.
    const code = frame.body.length < 4 ? 0 : (frame.body.readUInt32LE(0) & 0xfffffffe) >>> 0;
    const { response } =
      methods.find((method) => method.response.code === code) ??
      (methods[below(methods.length)] as (typeof methods)[number]);
    checkSound(
      decodeMessage(new ByteReader(frame.body), response),
      (value) => encodeMessage(out, response, value),
      (bytes) => decodeMessage(new ByteReader(bytes), response),
    );
  }
  return outcome;
}

/** Whatever was read can be written, and reads as the same value again. */
function checkSound<T>(value: T, write: (value: T) => void, read: (bytes: Buffer) => T): void {
  write(value);
  deepStrictEqual(read(out.take()), value);
}

/** A copy of a frame in which up to four things are wrong; mostly behind its header, at `bodyAt`. */
export function spoil(original: Buffer, bodyAt: number, below: Below): Buffer {
  let bytes = Buffer.from(original);
  for (let count = below(4); count > 0 && bytes.length > 0; count--) {
    // Mostly in the body: a spoiled header is refused at once and shows little.
    const isInBody = below(8) > 0 && bytes.length > bodyAt;
    const at = isInBody ? bodyAt + below(bytes.length - bodyAt) : below(bytes.length);
    switch (below(6)) {
      case 0:
        bytes[at] = (bytes[at] as number) ^ (1 << below(8));
        break;
      case 1:
        bytes[at] = below(256);
        break;
      case 2:
        bytes.fill(0xff, at, Math.min(bytes.length, at + 4));
        break;
      case 3:
        bytes.copyWithin(at, below(bytes.length));
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(4))]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(below(at + 1))]);
    }
  }
  return below(8) === 0 ? bytes.subarray(0, below(bytes.length + 1)) : bytes;
}
