/**
 * coro_rpc frames, little-endian.
 *
 *   request   u8 magic 21; u8 version 0; u8 serialize type 0; u8 message type; u32 sequence; u32 function id;
 *             u32 body bytes; u32 attachment bytes; body; attachment
 *   response  u8 magic 21; u8 version 0; u8 error; u8 message type; u32 sequence; u32 body bytes;
 *             u32 attachment bytes; body; attachment
 *
 * Source: yalantinglibs, `coro_rpc/impl/protocol/coro_rpc_protocol.hpp`.
 */
import { ByteReader, malformed } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { struct, text, u16 } from './codec.ts';
import { decodeMessage, encodeMessage, messageType } from './struct-pack.ts';

const magic = 21;
const requestHeaderByteCount = 20;
const responseHeaderByteCount = 16;

/** Faults of the call itself, as the error byte of a response tells them. */
export const RpcError = {
  NONE: 0,
  INVALID_ARGUMENTS: 4,
  THROWN: 10,
  NOT_REGISTERED: 11,
  /** The code follows in the body. */
  EXTENDED: 255,
} as const;

const shownLengthMax = 1_024;

const errorText = messageType(text(2 ** 16));
const extendedError = messageType(struct({ code: u16, message: text(2 ** 16) }));

export interface RequestFrame {
  readonly sequence: number;
  readonly functionId: number;
  /** A view of the chunk it came in; keeps it alive. */
  readonly body: Buffer;
}

export interface ResponseFrame {
  readonly sequence: number;
  readonly error: number;
  readonly body: Buffer;
}

/** Cuts frames out of a byte stream, wherever the stream itself was cut. */
abstract class FrameParser<F> {
  readonly #byteCountMax: number;
  readonly #headerByteCount: number;
  /** The start of a frame whose end has not come, with room to grow. */
  #pending: Buffer = Buffer.alloc(0);
  #pendingByteCount = 0;
  #neededByteCount: number;

  constructor(headerByteCount: number, byteCountMax: number) {
    this.#headerByteCount = headerByteCount;
    this.#neededByteCount = headerByteCount;
    this.#byteCountMax = byteCountMax;
  }

  /** Bytes of a frame that has begun and not ended; 0 between frames. */
  get pendingByteCount(): number {
    return this.#pendingByteCount;
  }

  /** All frames that `chunk` completes. A stream that is no RPC, or a frame over the limit, is a `MALFORMED` fault. */
  push(chunk: Buffer): F[] {
    const bytes = this.#gather(chunk);
    if (bytes === null) return [];
    const frames: F[] = [];
    this.#neededByteCount = this.#headerByteCount;
    let at = 0;
    while (at < bytes.length) {
      this.checkStart(bytes, at);
      if (bytes.length - at < this.#headerByteCount) break;
      const bodyByteCount = bytes.readUInt32LE(at + this.#headerByteCount - 8);
      const attachmentByteCount = bytes.readUInt32LE(at + this.#headerByteCount - 4);
      const byteCount = this.#headerByteCount + bodyByteCount + attachmentByteCount;
      if (byteCount > this.#byteCountMax) {
        throw malformed(`a frame of ${byteCount} bytes is over the limit of ${this.#byteCountMax}`);
      }
      if (bytes.length - at < byteCount) {
        this.#neededByteCount = byteCount;
        break;
      }
      const bodyAt = at + this.#headerByteCount;
      frames.push(this.frame(bytes, at, bytes.subarray(bodyAt, bodyAt + bodyByteCount)));
      at += byteCount;
    }
    // A copy, so that what is left over does not keep a large chunk alive nor changes with it.
    this.#pending = Buffer.from(bytes.subarray(at));
    this.#pendingByteCount = this.#pending.length;
    return frames;
  }

  /** Refuses what cannot be the start of a frame, from as few bytes as there are. */
  protected abstract checkStart(bytes: Buffer, at: number): void;
  protected abstract frame(bytes: Buffer, at: number, body: Buffer): F;

  /** Null while the frame under way is not complete: it is looked at once, not with each of its pieces. */
  #gather(chunk: Buffer): Buffer | null {
    if (this.#pendingByteCount === 0) return chunk;
    const byteCount = this.#pendingByteCount + chunk.length;
    if (byteCount > this.#pending.length) {
      // Grows with what has come, never with what a header claims.
      const grown = Buffer.allocUnsafe(Math.max(byteCount, 2 * this.#pending.length));
      this.#pending.copy(grown, 0, 0, this.#pendingByteCount);
      this.#pending = grown;
    }
    chunk.copy(this.#pending, this.#pendingByteCount);
    this.#pendingByteCount = byteCount;
    if (byteCount < this.#neededByteCount) return null;
    return this.#pending.subarray(0, byteCount);
  }
}

export class RequestParser extends FrameParser<RequestFrame> {
  constructor(byteCountMax: number) {
    super(requestHeaderByteCount, byteCountMax);
  }

  protected override checkStart(bytes: Buffer, at: number): void {
    if (bytes[at] !== magic) throw malformed('not a coro_rpc request');
    if (at + 1 < bytes.length && bytes[at + 1] !== 0) throw malformed('another protocol version');
    if (at + 2 < bytes.length && bytes[at + 2] !== 0) throw malformed('another serialization');
  }

  protected override frame(bytes: Buffer, at: number, body: Buffer): RequestFrame {
    return {
      sequence: bytes.readUInt32LE(at + 4),
      functionId: bytes.readUInt32LE(at + 8),
      body,
    };
  }
}

export class ResponseParser extends FrameParser<ResponseFrame> {
  constructor(byteCountMax: number) {
    super(responseHeaderByteCount, byteCountMax);
  }

  protected override checkStart(bytes: Buffer, at: number): void {
    if (bytes[at] !== magic) throw malformed('not a coro_rpc response');
  }

  protected override frame(bytes: Buffer, at: number, body: Buffer): ResponseFrame {
    return { error: bytes[at + 2] as number, sequence: bytes.readUInt32LE(at + 4), body };
  }
}

/** Appends a request; `writeBody` appends its body. */
export function writeRequest(
  out: ByteWriter,
  sequence: number,
  functionId: number,
  writeBody: () => void,
): void {
  out.u32(magic);
  out.u32(sequence);
  out.u32(functionId);
  writeSizedBody(out, writeBody);
}

/** Appends a response; `writeBody` appends its body. */
export function writeResponse(
  out: ByteWriter,
  sequence: number,
  error: number,
  writeBody: () => void,
): void {
  out.u32(magic | (error << 16));
  out.u32(sequence);
  writeSizedBody(out, writeBody);
}

/** Appends a response that only says what is wrong, cut to a length that is worth reading. */
export function writeErrorResponse(
  out: ByteWriter,
  sequence: number,
  error: number,
  message: string,
): void {
  const shown = message.slice(0, shownLengthMax).replace(/\p{Surrogate}/gu, '?');
  writeResponse(out, sequence, error, () => encodeMessage(out, errorText, shown));
}

/** What a response with an error byte says. */
export function readError({ error, body }: ResponseFrame): { code: number; message: string } {
  const source = new ByteReader(body);
  if (error === RpcError.EXTENDED) return decodeMessage(source, extendedError);
  return { code: error, message: decodeMessage(source, errorText) };
}

function writeSizedBody(out: ByteWriter, writeBody: () => void): void {
  const lengthAt = out.position;
  out.u32(0);
  out.u32(0);
  const bodyAt = out.position;
  writeBody();
  out.patchU32(lengthAt, out.position - bodyAt);
}
