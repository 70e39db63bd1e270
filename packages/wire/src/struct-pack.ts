/**
 * struct_pack messages: a type code, what it says of the rest, the value.
 *
 *   u32 code | bit 0: a metainfo byte follows
 *   metainfo: bits 0-1 width of a total length (unused), bit 2 a type literal follows, bits 3-4 width of lengths
 *   type literal and a NUL, when bit 2 is set
 *   value
 *
 * Source: yalantinglibs, `include/ylt/struct_pack`.
 */
import { createHash } from 'node:crypto';
import { type ByteReader, malformed } from './byte-reader.ts';
import type { ByteWriter, LengthWidth } from './byte-writer.ts';
import type { Codec } from './codec.ts';

const literalFlag = 0x04;

/** A codec with what its messages begin with. */
export interface MessageType<T> {
  readonly codec: Codec<T>;
  /** 31 bits of the MD5 of the literal; bit 0 is free for the metainfo flag. */
  readonly code: number;
  readonly literal: Buffer;
}

export function messageType<T>(codec: Codec<T>): MessageType<T> {
  const literal = Buffer.from(codec.literal);
  const digest = createHash('md5').update(literal).digest();
  return { codec, literal, code: (digest.readUInt32BE(0) & 0xfffffffe) >>> 0 };
}

export interface EncodeOptions {
  /** Sends the type literal, as builds without NDEBUG do; receivers understand both. */
  readonly withLiteral?: boolean;
}

/** Appends one message. Written once more only when a length does not fit into one byte. */
export function encodeMessage<T>(
  out: ByteWriter,
  type: MessageType<T>,
  value: T,
  { withLiteral = false }: EncodeOptions = {},
): void {
  const start = out.position;
  let width: LengthWidth = 1;
  for (;;) {
    const metainfo = (withLiteral ? literalFlag : 0) | ({ 1: 0, 2: 1, 4: 2 }[width] << 3);
    out.position = start;
    out.u32(metainfo === 0 ? type.code : type.code + 1);
    if (metainfo !== 0) out.u8(metainfo);
    if (withLiteral) {
      out.raw(type.literal);
      out.u8(0);
    }
    out.lengthWidth = width;
    out.largestCount = 0;
    type.codec.write(out, value);
    const needed = out.largestCount < 2 ** 8 ? 1 : out.largestCount < 2 ** 16 ? 2 : 4;
    if (needed <= width) return;
    width = needed;
  }
}

/** Reads one message; bytes after the value are ignored. Anything unexpected is a `MALFORMED` fault. */
export function decodeMessage<T>(source: ByteReader, type: MessageType<T>): T {
  const stored = source.u32();
  if (stored >>> 1 !== type.code >>> 1) {
    throw malformed(`type code ${stored.toString(16)} instead of ${type.code.toString(16)}`);
  }
  source.lengthWidth = 1;
  if ((stored & 1) === 1) {
    const metainfo = source.u8();
    if ((metainfo & 0x03) !== 0) source.raw(2 ** (metainfo & 0x03));
    source.lengthWidth = 2 ** ((metainfo >> 3) & 0x03);
    if ((metainfo & literalFlag) !== 0) {
      const literal = source.raw(type.literal.length + 1);
      if (literal.at(-1) !== 0 || !literal.subarray(0, -1).equals(type.literal)) {
        throw malformed('another type literal than expected');
      }
    }
  }
  return type.codec.read(source);
}
