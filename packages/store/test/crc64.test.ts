import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Crc64, checksumOf } from '../src/crc64.ts';

/** Bit by bit, as the definition reads. */
function plainCrc(bytes: Uint8Array): bigint {
  let crc = 0n;
  for (const byte of bytes) {
    crc ^= BigInt(byte) << 56n;
    for (let bit = 0; bit < 8; bit++) {
      const carries = crc >> 63n === 1n;
      crc = (crc << 1n) & 0xffff_ffff_ffff_ffffn;
      if (carries) crc ^= 0x42f0_e1eb_a9ea_3693n;
    }
  }
  return crc;
}

describe('Crc64', () => {
  it('has the check value of CRC-64/ECMA-182', async () => {
    expect(await checksumOf([Buffer.from('123456789')])).toBe(0x6c40_df5f_0b49_7347n);
    expect(await checksumOf([])).toBe(0n);
  });

  it('agrees with the definition wherever the bytes lie and however they are cut', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.nat({ max: 7 }),
        fc.nat({ max: 200 }),
        (bytes, offset, cut) => {
          const memory = new Uint8Array(bytes.length + offset);
          memory.set(bytes, offset);
          const placed = memory.subarray(offset);
          const crc = new Crc64();
          crc.update(placed.subarray(0, cut));
          crc.update(placed.subarray(cut));
          expect(crc.value).toBe(plainCrc(bytes));
        },
      ),
    );
  });

  it('goes on over several turns', async () => {
    const bytes = Buffer.alloc(9 * 2 ** 20 + 5, 'tsukimi');
    const crc = new Crc64();
    crc.update(bytes);
    expect(await checksumOf([bytes.subarray(0, 3), bytes.subarray(3)])).toBe(crc.value);
  });
});
