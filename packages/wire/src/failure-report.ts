import { assert } from '@tsukimi/base';
import { ByteReader, malformed } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { type Uuid, uuid } from './uuid.ts';

/** 'TSFR' */
const magic = 0x52_46_53_54;
const endpointCountMax = 8;
const endpointByteCountMax = 256;

/** What a client tells a master besides the call it makes: from where it could not read. */
export interface FailureReport {
  readonly reporter: Uuid;
  /** Transport endpoints, as in replica descriptors; 1 to 8 of them. */
  readonly endpoints: readonly string[];
}

/**
 * Follows the arguments of any call that has some, in the same frame. Mooncake's master ignores bytes
 * after the arguments; Tsukimi's suspects the clients that own these endpoints until they ping.
 *
 *   u32 magic 'TSFR', reporter (u64, u64), u8 count, then count times: u16 length, UTF-8
 */
export function writeFailureReport(out: ByteWriter, { reporter, endpoints }: FailureReport): void {
  assert(endpoints.length > 0 && endpoints.length <= endpointCountMax, 'a report is small');
  out.u32(magic);
  uuid.write(out, reporter);
  out.u8(endpoints.length);
  out.lengthWidth = 2;
  for (const endpoint of endpoints) out.text(endpoint, endpointByteCountMax);
}

/** Null for bytes that are something else; throws `MALFORMED` for a report that is broken. */
export function readFailureReport(bytes: Buffer): FailureReport | null {
  if (bytes.length < 4 || bytes.readUInt32LE(0) !== magic) return null;
  const source = new ByteReader(bytes, 4);
  const reporter = uuid.read(source);
  const count = source.u8();
  if (count === 0 || count > endpointCountMax) throw malformed(`a report of ${count} endpoints`);
  source.lengthWidth = 2;
  return {
    reporter,
    endpoints: Array.from({ length: count }, () => source.text(endpointByteCountMax)),
  };
}
