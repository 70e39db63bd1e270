import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteWriter, readFailureReport, type Uuid, writeFailureReport } from '../src/index.ts';

const reporter = '1-18446744073709551615' as Uuid;

function written(endpoints: readonly string[]): Buffer {
  const out = new ByteWriter();
  writeFailureReport(out, { reporter, endpoints });
  return out.take();
}

describe('a failure report', () => {
  it('reads as it was written', () => {
    const endpoints = fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(endpoints, (some) => {
        expect(readFailureReport(written(some))).toEqual({ reporter, endpoints: some });
      }),
    );
  });

  it('is told from other bytes, and refused when it is cut or too large', () => {
    expect(readFailureReport(Buffer.alloc(0))).toBeNull();
    expect(readFailureReport(Buffer.from('something else'))).toBeNull();
    const whole = written(['10.0.0.1:15001', '[::1]:15002']);
    for (let end = 4; end < whole.length; end++) {
      expect(() => readFailureReport(whole.subarray(0, end))).toThrow('malformed');
    }
    for (const count of [0, 9, 255]) {
      const lying = Buffer.from(whole);
      lying[20] = count;
      expect(() => readFailureReport(lying)).toThrow('malformed');
    }
    const long = Buffer.from(whole);
    long.writeUInt16LE(257, 21);
    expect(() => readFailureReport(long)).toThrow('too long');
  });
});
