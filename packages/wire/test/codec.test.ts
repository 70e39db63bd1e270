import { AssertionError, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { ByteReader } from '../src/byte-reader.ts';
import { ByteWriter } from '../src/byte-writer.ts';
import {
  bool,
  type Codec,
  expected,
  i64,
  list,
  map,
  nothing,
  optional,
  passingTexts,
  size,
  struct,
  text,
  tuple,
  u8,
  u64,
  variant,
} from '../src/codec.ts';
import { decodeMessage, encodeMessage, messageType } from '../src/struct-pack.ts';
import { makeUuid, parseUuid, uuid } from '../src/uuid.ts';

function written<T>(codec: Codec<T>, value: T, withLiteral = false): Buffer {
  const out = new ByteWriter();
  encodeMessage(out, messageType(codec), value, { withLiteral });
  return out.take();
}

const read = <T>(codec: Codec<T>, bytes: Buffer): T =>
  decodeMessage(new ByteReader(bytes), messageType(codec));

const again = <T>(codec: Codec<T>, value: T): T => read(codec, written(codec, value));

/** A message whose value is `value`, byte for byte. */
const spoken = <T>(codec: Codec<T>, ...value: number[]): Buffer => {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(messageType(codec).code);
  return Buffer.concat([header, Buffer.from(value)]);
};

const malformed = (what: () => unknown, message: RegExp) => {
  expect(what).toThrow(message);
  expect(what).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
};

describe('a message', () => {
  it.each([
    [255, 1],
    [256, 2],
    [65_535, 2],
    [65_536, 4],
  ])('with a text of %i bytes has lengths of %i bytes, all of them', (byteCount, width) => {
    const codec = struct({ long: text(), short: text() });
    const value = { long: 'x'.repeat(byteCount), short: 'ab' };
    const bytes = written(codec, value);
    expect(bytes.length).toBe(4 + (width === 1 ? 0 : 1) + width + byteCount + width + 2);
    expect(read(codec, bytes)).toEqual(value);
    expect(read(codec, written(codec, value, true))).toEqual(value);
  });

  it('is read with wider lengths than it needs, up to eight bytes', () => {
    const bytes = spoken(text(), 3 << 3, 2, 0, 0, 0, 0, 0, 0, 0, 0x61, 0x62);
    bytes.writeUInt8(bytes.readUInt8(0) | 1, 0);
    expect(read(text(), bytes)).toBe('ab');
  });

  it('may have bytes after its value', () => {
    expect(read(u8, Buffer.concat([written(u8, 7), Buffer.of(1, 2, 3)]))).toBe(7);
  });

  it('of another type, or with another literal than its code says, is refused', () => {
    malformed(() => read(u64, written(text(), 'a')), /type code/);
    const bytes = written(text(), 'abc', true);
    bytes.writeUInt8(0x0b, 6);
    malformed(() => read(text(), bytes), /literal/);
  });

  it('leaves the writer usable when its value cannot be written', () => {
    const out = new ByteWriter();
    expect(() => encodeMessage(out, messageType(text(3)), 'four')).toThrow(AssertionError);
    out.position = 0;
    encodeMessage(out, messageType(text(3)), 'abc');
    expect(read(text(3), out.take())).toBe('abc');
  });

  it('grows its writer under every kind of value', () => {
    const every = struct({ u8, bool, size, u64, i64, id: uuid, text: text(), list: list(u8) });
    const value = {
      ...{ u8: 1, bool: true, size: 2, u64: 3n, i64: -4, id: parseUuid('5-6', 'id') },
      ...{ text: 'seven', list: [8, 9] },
    };
    for (let before = 3_980; before < 4_096; before++) {
      const out = new ByteWriter();
      out.raw(Buffer.alloc(before));
      encodeMessage(out, messageType(every), value);
      expect(read(every, out.take().subarray(before))).toEqual(value);
    }
  });

  it('is handed out as the caller’s own, however large', () => {
    const out = new ByteWriter();
    const large = 'x'.repeat(2 ** 20);
    encodeMessage(out, messageType(text()), large);
    const first = out.take();
    encodeMessage(out, messageType(text()), 'small');
    expect(read(text(), first)).toBe(large);
    expect(read(text(), out.take())).toBe('small');
  });
});

describe('texts', () => {
  it.each([
    '',
    'default',
    'x'.repeat(24),
    'x'.repeat(25),
    '月見',
    `${'月'.repeat(30)}🥮`,
    'a real \ufffd',
    '\ufeffmarked',
  ])('come back as they were: %j', (value) => {
    expect(again(text(), value)).toBe(value);
  });

  it('are limited in bytes, in both directions', () => {
    expect(again(text(6), '月見')).toBe('月見');
    expect(() => written(text(5), '月見')).toThrow(AssertionError);
    expect(() => written(text(29), '月'.repeat(10))).toThrow(AssertionError);
    malformed(() => read(text(5), written(text(6), '月見')), /too long/);
  });

  it('that are not UTF-8, or are half a character, are refused: two keys must never become one', () => {
    malformed(() => read(text(), spoken(text(), 2, 0xff, 0x61)), /UTF-8/);
    expect(() => written(text(), 'half \ud800')).toThrow(AssertionError);
  });
});

describe('lists', () => {
  it('are limited in both directions', () => {
    expect(again(list(u8, 2), [1, 2])).toEqual([1, 2]);
    expect(() => written(list(u8, 2), [1, 2, 3])).toThrow(AssertionError);
    malformed(() => read(list(u8, 2), written(list(u8), [1, 2, 3])), /a list of 3/);
  });

  it('that claim more elements than there are bytes are refused before anything is read', () => {
    malformed(() => read(list(u8), spoken(list(u8), 200, 1, 2)), /a list of 200/);
    malformed(() => read(map(u8, u8), spoken(map(u8, u8), 200, 1, 2)), /a list of 200/);
  });

  it.each([
    ['few', ['a', 'b']],
    ['many, all ASCII', Array.from({ length: 300 }, (_, index) => `key-${index}`)],
    [
      'many, one of them with characters of several bytes',
      ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'schl\u00fcssel', '\u9375'],
    ],
  ])('of passing texts, %s, are those that an ordinary list has', (_, texts) => {
    const codec = tuple(passingTexts(300, 20), text());
    const bytes = written(codec, [texts, 'behind']);
    expect(read(codec, bytes)).toEqual([texts, 'behind']);
    expect(read(tuple(list(text()), text()), bytes)).toEqual([texts, 'behind']);
  });

  it('of passing texts are limited as others are', () => {
    const texts = Array.from({ length: 20 }, (_, index) => `key-${index}`);
    const bytes = written(list(text()), texts);
    expect(() => read(passingTexts(19, 20), bytes)).toThrow('a list of 20 elements');
    expect(() => read(passingTexts(20, 5), bytes)).toThrow('a text of 6 bytes is too long');
    expect(() => read(passingTexts(20, 20), bytes.subarray(0, -1))).toThrow('were expected');
  });

  it('keep the order of a map', () => {
    const entries = [
      ['b', 2],
      ['a', 1],
    ] as const;
    expect(again(map(text(), u8), entries)).toEqual(entries);
  });
});

describe('values', () => {
  it('come back as they were', () => {
    expect(again(optional(u64), null)).toBeNull();
    expect(again(optional(u64), 2n ** 64n - 1n)).toBe(2n ** 64n - 1n);
    expect(again(size, Number.MAX_SAFE_INTEGER)).toBe(Number.MAX_SAFE_INTEGER);
    expect(again(size, 2 ** 32)).toBe(2 ** 32);
    expect(again(i64, -1)).toBe(-1);
    expect(again(expected(nothing), { ok: undefined })).toEqual({ ok: undefined });
    expect(again(expected(bool), { error: -704 })).toEqual({ error: -704 });
  });

  it('outside of what they may be are refused', () => {
    malformed(() => read(bool, spoken(bool, 2)), /a bool of 2/);
    malformed(() => read(size, spoken(size, 0, 0, 0, 0, 0, 0, 0x20, 0)), /out of range/);
    malformed(() => read(i64, spoken(i64, 0, 0, 0, 0, 0, 0, 0, 0x80)), /out of range/);
    const one = variant({ only: struct({ a: u8 }) });
    malformed(() => read(one, spoken(one, 1, 0)), /alternative 1 of 1/);
    malformed(() => read(u64, spoken(u64, 1, 2, 3)), /8 bytes more/);
    expect(() => written(size, 0.5)).toThrow(AssertionError);
  });
});

describe('Uuid', () => {
  it('is read from its text form, which it keeps on the wire', () => {
    const id = parseUuid('18446744073709551615-0', 'client_id');
    expect(again(uuid, id)).toBe(id);
    const random = makeUuid(new SeededRandom(1));
    expect(parseUuid(random, 'client_id')).toBe(random);
  });

  it.each(['', '1', '1-', '-1', '1-2-3', '18446744073709551616-0', 'a-b'])('is not %j', (value) => {
    expect(() => parseUuid(value, 'client_id')).toThrow(/client_id/);
  });
});
