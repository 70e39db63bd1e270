/** Test aids: the promises of `Transport`, as a suite that every adapter runs. */
import { Fault, type FaultCode } from '@tsukimi/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Memory } from './memory.ts';
import type { Peer } from './peer-directory.ts';
import type { Transport } from './transport.ts';

export interface TransportFixture {
  readonly transport: Transport;
  readonly peer: Peer;
  /** The peer's, at least `contractByteCount`. */
  readonly memory: Memory;
  /** `PEER_UNREACHABLE` where the protocol has no word for a refusal; else `REFUSED`. */
  readonly refusalCode?: FaultCode;
  /** What the end of the peer's process would do; null where the peer is this very process. */
  readonly endPeer: (() => Promise<void>) | null;
  close(): Promise<void>;
}

export const contractByteCount = 9 * 2 ** 20;

export function describeTransportContract(
  name: string,
  makeFixture: () => Promise<TransportFixture>,
): void {
  describe(`${name} transport`, () => {
    let fixture: TransportFixture;
    const never = { signal: undefined, endsAtMs: 1e9 } as const;
    beforeEach(async () => {
      fixture = await makeFixture();
    });
    afterEach(() => fixture.close());

    it('reads what was written, of any size and at any offset', async () => {
      const { transport, peer, memory } = fixture;
      for (const [offset, byteCount] of [
        [0, 1],
        [7, 5],
        [4_095, 65_537],
        [1_000_001, 8 * 2 ** 20],
        [memory.byteCount - 1, 1],
      ] as const) {
        const address = memory.baseAddress + BigInt(offset);
        const from = pattern(byteCount, offset);
        await transport.write(peer, address, from, never);
        expect(memory.view.subarray(offset, offset + byteCount).equals(from)).toBe(true);
        const into = Buffer.alloc(byteCount + 2, 0xee);
        await transport.read(peer, address, into.subarray(1, -1), never);
        expect(into.subarray(1, -1).equals(from)).toBe(true);
        expect([into[0], into.at(-1)]).toEqual([0xee, 0xee]);
      }
    });

    it('moves nothing when asked for nothing', async () => {
      const { transport, peer, memory } = fixture;
      await transport.read(peer, memory.baseAddress, Buffer.alloc(0), never);
      await transport.write(peer, memory.baseAddress, Buffer.alloc(0), never);
    });

    it('refuses what is not all inside registered memory, and touches nothing', async () => {
      const { transport, peer, memory, refusalCode = 'REFUSED' } = fixture;
      memory.view.fill(0x11, 0, 64);
      memory.view.fill(0x22, memory.byteCount - 64);
      const end = memory.baseAddress + BigInt(memory.byteCount);
      for (const address of [memory.baseAddress - 1n, end - 7n, end, 1n, 2n ** 64n - 4n]) {
        const bytes = Buffer.alloc(8, 0xee);
        for (const kind of ['read', 'write'] as const) {
          await expect(transport[kind](peer, address, bytes, never)).rejects.toMatchObject({
            code: refusalCode,
          });
        }
        expect(bytes).toEqual(Buffer.alloc(8, 0xee));
      }
      expect(memory.view.subarray(0, 64)).toEqual(Buffer.alloc(64, 0x11));
      expect(memory.view.subarray(-64)).toEqual(Buffer.alloc(64, 0x22));
    });

    it('keeps transfers that run at once apart', async () => {
      const { transport, peer, memory } = fixture;
      const slots = Array.from({ length: 40 }, (_, index) => index);
      const byteCount = 100_003;
      const addressOf = (slot: number) => memory.baseAddress + BigInt(slot * byteCount);
      await Promise.all(
        slots.map((slot) =>
          transport.write(peer, addressOf(slot), pattern(byteCount, slot), never),
        ),
      );
      const read = await Promise.all(
        slots.map(async (slot) => {
          const into = Buffer.alloc(byteCount);
          await transport.read(peer, addressOf(slot), into, never);
          return into.equals(pattern(byteCount, slot));
        }),
      );
      expect(read).toEqual(slots.map(() => true));
    });

    it('gives the buffer back to the caller when it settles', async () => {
      const { transport, peer, memory } = fixture;
      const bytes = pattern(2 ** 20, 1);
      await transport.write(peer, memory.baseAddress, bytes, never);
      bytes.fill(0);
      expect(memory.view.subarray(0, 2 ** 20).equals(pattern(2 ** 20, 1))).toBe(true);
      await transport.read(peer, memory.baseAddress, bytes, never);
      memory.view.fill(0, 0, 2 ** 20);
      expect(bytes.equals(pattern(2 ** 20, 1))).toBe(true);
    });

    it('rejects with the reason of its signal', async () => {
      const { transport, peer, memory } = fixture;
      const signal = AbortSignal.abort(new Fault('DEADLINE_PASSED', 'too late'));
      const passed = { ...never, signal };
      const bytes = Buffer.alloc(8, 0xee);
      memory.view.fill(0x11, 0, 8);
      for (const kind of ['read', 'write'] as const) {
        await expect(
          transport[kind](peer, memory.baseAddress, bytes, passed),
        ).rejects.toMatchObject({ code: 'DEADLINE_PASSED' });
      }
      expect(bytes).toEqual(Buffer.alloc(8, 0xee));
      expect(memory.view.subarray(0, 8)).toEqual(Buffer.alloc(8, 0x11));
    });

    it('reports a peer that is gone, and goes on with others', async () => {
      const { transport, peer, memory, endPeer } = fixture;
      const into = Buffer.alloc(8);
      await transport.read(peer, memory.baseAddress, into, never);
      if (endPeer === null) {
        expect(transport.kind).toBe('local');
        return;
      }
      await endPeer();
      for (const kind of ['read', 'write'] as const) {
        await expect(transport[kind](peer, memory.baseAddress, into, never)).rejects.toMatchObject({
          code: 'PEER_UNREACHABLE',
        });
      }
    });
  });
}

/** Bytes that differ from place to place and from seed to seed. */
export function pattern(byteCount: number, seed: number): Buffer {
  const bytes = Buffer.alloc(byteCount);
  for (let index = 0; index < byteCount; index += 1) {
    bytes[index] = (index * 31 + (index >>> 8) * 17 + seed * 101) & 0xff;
  }
  return bytes;
}
