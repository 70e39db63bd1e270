import { Fault, type Random } from '@tsukimi/base';
import type { Codec } from './codec.ts';

/** 128 bits in Mooncake's text form: both halves in decimal, `first-second`. */
export type Uuid = string & { readonly __brand: 'Uuid' };

/** A client names itself in every call, and to read a number costs more than the rest of it. */
let lastWritten = { value: '0-0', first: 0n, second: 0n };

/** `std::pair<uint64_t, uint64_t>`: a trivially copyable pair, whose literal also holds its alignments. */
export const uuid: Codec<Uuid> = {
  literal: [0xfd, 0x04, 0x04, 0x89, 0x89, 0xff],
  write(out, value) {
    if (value !== lastWritten.value) lastWritten = { value, ...halvesOf(value) };
    out.u64(lastWritten.first);
    out.u64(lastWritten.second);
  },
  read(source) {
    const first = source.u64();
    return `${first}-${source.u64()}` as Uuid;
  },
};

function halvesOf(value: Uuid): { readonly first: bigint; readonly second: bigint } {
  const dash = value.indexOf('-');
  return { first: BigInt(value.slice(0, dash)), second: BigInt(value.slice(dash + 1)) };
}

export function makeUuid(random: Random): Uuid {
  const half = () => (BigInt(random.uint32()) << 32n) | BigInt(random.uint32());
  return `${half()}-${half()}` as Uuid;
}

/** Reads the text form. `what` names the field in the error. */
export function parseUuid(value: string, what: string): Uuid {
  const halves = /^(\d{1,20})-(\d{1,20})$/.exec(value)?.slice(1).map(BigInt) ?? [];
  if (halves.length !== 2 || halves.some((half) => half >= 2n ** 64n)) {
    throw new Fault('INVALID_ARGUMENT', `${what}: "${value}" is not an id of the form 1-2`);
  }
  return halves.join('-') as Uuid;
}
