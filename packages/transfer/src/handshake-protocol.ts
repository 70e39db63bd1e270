import { Fault } from '@tsukimi/base';
import { type JsonValue, parseJson, sortedJson } from '@tsukimi/metadata';

/**
 * The framing of Mooncake's handshake daemon: u64 length, type byte, JSON; one exchange a connection.
 * Source: `include/common.h` and `transfer_metadata_plugin.cpp` of the transfer engine.
 */
export const handshakeTypes = { connection: 0, metadata: 1, notify: 2, probe: 3 } as const;

export type HandshakeType = (typeof handshakeTypes)[keyof typeof handshakeTypes];

export interface HandshakeMessage {
  /** Null in the framing of old releases, which has no type byte and means a connection. */
  readonly type: HandshakeType | null;
  readonly value: JsonValue;
}

const lengthByteCount = 8;
const payloadByteCountMax = 2 ** 20;

export function formatHandshake({ type, value }: HandshakeMessage): Buffer {
  const text = Buffer.from(`${sortedJson(value)}\n`);
  const length = Buffer.alloc(type === null ? lengthByteCount : lengthByteCount + 1);
  length.writeBigUInt64LE(BigInt(text.length + length.length - lengthByteCount));
  if (type !== null) length.writeUInt8(type, lengthByteCount);
  return Buffer.concat([length, text]);
}

/** The message that the bytes received so far begin with. */
export function parseHandshake(received: Buffer): HandshakeMessage | 'incomplete' | 'malformed' {
  if (received.length < lengthByteCount) return 'incomplete';
  const byteCount = received.readBigUInt64LE();
  if (byteCount === 0n || byteCount > payloadByteCountMax) return 'malformed';
  const payload = received.subarray(lengthByteCount, lengthByteCount + Number(byteCount));
  if (payload.length < Number(byteCount)) return 'incomplete';
  const first = payload.readUInt8();
  // Any first byte that is no type belongs to the old framing.
  const type = Object.values(handshakeTypes).find((known) => known === first) ?? null;
  const text = payload.subarray(type === null ? 0 : 1).toString('utf8');
  try {
    return { type, value: parseJson(text, 'handshake') };
  } catch (error) {
    if (Fault.has(error, 'MALFORMED')) return 'malformed';
    throw error;
  }
}
