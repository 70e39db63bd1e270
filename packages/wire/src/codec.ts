/**
 * struct_pack values, declared once. A codec writes, reads and knows the type literal of its C++ type,
 * from which the type codes of messages follow. Source: yalantinglibs, `include/ylt/struct_pack`.
 */
import { compileFunction } from 'node:vm';
import { assert } from '@tsukimi/base';
import { type ByteReader, malformed } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';

export interface Codec<T> {
  /** The type literal of struct_pack, as bytes. */
  readonly literal: readonly number[];
  write(out: ByteWriter, value: T): void;
  read(source: ByteReader): T;
  /** The argument by which a caller names itself. */
  readonly namesCaller?: true;
}

export type Infer<C> = C extends Codec<infer T> ? T : never;

/** The C++ side of a call that may fail for a reason of its own: `tl::expected<T, ErrorCode>`. */
export type Expected<T> = { readonly ok: T } | { readonly error: number };

export const bool: Codec<boolean> = {
  literal: [0x0b],
  write: (out, value) => out.u8(value ? 1 : 0),
  read(source) {
    const value = source.u8();
    if (value > 1) throw malformed(`a bool of ${value}`);
    return value === 1;
  },
};

export const u8: Codec<number> = {
  literal: [0x06],
  write: (out, value) => out.u8(value),
  read: (source) => source.u8(),
};

export const u16: Codec<number> = {
  literal: [0x08],
  write: (out, value) => out.u16(value),
  read: (source) => source.u16(),
};

export const u32: Codec<number> = {
  literal: [0x02],
  write: (out, value) => out.u32(value),
  read: (source) => source.u32(),
};

export const i32: Codec<number> = {
  literal: [0x01],
  write: (out, value) => out.i32(value),
  read: (source) => source.i32(),
};

export const u64: Codec<bigint> = {
  literal: [0x04],
  write: (out, value) => out.u64(value),
  read: (source) => source.u64(),
};

/** A u64 that is a size, a count or a length of time, as a safe integer. */
export const size: Codec<number> = {
  literal: [0x04],
  write: (out, value) => out.size(value),
  read: (source) => source.size(),
};

/** An i64 that is a size or a time, as a safe integer. */
export const i64: Codec<number> = {
  literal: [0x03],
  write(out, value) {
    assert(Number.isSafeInteger(value), 'an i64 is a safe integer');
    out.i64(BigInt(value));
  },
  read(source) {
    const value = Number(source.i64());
    if (!Number.isSafeInteger(value)) throw malformed(`an i64 of ${value} is out of range`);
    return value;
  },
};

/** No value at all: C++ `void` and `std::monostate`. */
export const nothing: Codec<undefined> = {
  literal: [0xfa],
  write() {},
  read: () => undefined,
};

/** UTF-8; longer texts than `byteCountMax` are refused in both directions. */
export function text(byteCountMax = 2 ** 20): Codec<string> {
  return {
    literal: [0x80, 0x0c],
    write: (out, value) => out.text(value, byteCountMax),
    read: (source) => source.text(byteCountMax),
  };
}

export function list<T>(element: Codec<T>, countMax = 2 ** 20): Codec<readonly T[]> {
  return {
    literal: [0x84, ...element.literal],
    write: ownCode(
      { element, countMax, assert },
      `(out, values) => {
        assert(values.length <= countMax, 'a list is no longer than its codec allows');
        out.length(values.length);
        for (let index = 0; index < values.length; index++) element.write(out, values[index]);
      }`,
    ),
    read: ownCode(
      { element, countMax, readCount },
      `(source) => {
        const count = readCount(source, countMax);
        const values = [];
        for (let index = 0; index < count; index++) values.push(element.read(source));
        return values;
      }`,
    ),
  };
}

/** A list of texts whose reader looks at them and keeps none; see `ByteReader.texts`. */
export function passingTexts(countMax: number, byteCountMax: number): Codec<readonly string[]> {
  return {
    ...list(text(byteCountMax), countMax),
    read: (source) => source.texts(countMax, byteCountMax),
  };
}

/** A value that a layout does not hold: nothing is written, and `value` is read. */
export function absent<T>(value: T): Codec<T> {
  return { literal: [], write() {}, read: () => value };
}

/** A layout of another shape than our values have. */
export function mapped<T, W>(
  layout: Codec<W>,
  toLayout: (value: T) => W,
  fromLayout: (value: W) => T,
): Codec<T> {
  return {
    literal: layout.literal,
    write: ownCode({ layout, toLayout }, '(out, value) => layout.write(out, toLayout(value))'),
    read: ownCode({ layout, fromLayout }, '(source) => fromLayout(layout.read(source))'),
  };
}

/** Pairs in the order they come; C++ gives no order. */
export function map<K, V>(
  key: Codec<K>,
  value: Codec<V>,
  countMax = 2 ** 20,
): Codec<readonly (readonly [K, V])[]> {
  const entries = list<readonly [K, V]>(tuple<readonly [K, V]>(key, value), countMax);
  return { ...entries, literal: [0x82, ...key.literal, ...value.literal] };
}

export function optional<T>(inner: Codec<T>): Codec<T | null> {
  return {
    literal: [0x85, ...inner.literal],
    write: ownCode(
      { inner },
      `(out, value) => {
        out.u8(value === null ? 0 : 1);
        if (value !== null) inner.write(out, value);
      }`,
    ),
    read: ownCode({ bool, inner }, '(source) => (bool.read(source) ? inner.read(source) : null)'),
  };
}

export function expected<T>(inner: Codec<T>): Codec<Expected<T>> {
  return {
    literal: [0x87, ...inner.literal, ...i32.literal],
    write: ownCode(
      { inner },
      `(out, value) => {
        if ('ok' in value) {
          out.u8(1);
          inner.write(out, value.ok);
        } else {
          out.u8(0);
          out.i32(value.error);
        }
      }`,
    ),
    read: ownCode(
      { bool, inner },
      '(source) => (bool.read(source) ? { ok: inner.read(source) } : { error: source.i32() })',
    ),
  };
}

type Fields<T> = { readonly [K in keyof T]: Codec<T[K]> };

export interface StructCodec<T extends object> extends Codec<Readonly<T>> {
  readonly fields: Fields<T>;
}

/** Fields go on the wire in the order they are declared. */
export function struct<T extends object>(fields: Fields<T>): StructCodec<T> {
  const entries = Object.entries(fields) as [string, Codec<unknown>][];
  const codecs = entries.map(([, codec]) => codec);
  const writes = entries.map(([name], at) => `codecs${at}.write(out, value.${name});`);
  const reads = entries.map(([name], at) => `${name}: codecs${at}.read(source)`);
  return {
    fields,
    literal: [0xfd, ...codecs.flatMap((codec) => codec.literal), 0xff],
    write: ownCode(numbered({ codecs }), `(out, value) => { ${writes.join(' ')} }`),
    read: ownCode(numbered({ codecs }), `(source) => ({ ${reads.join(', ')} })`),
  };
}

/** The same struct in a layout where some fields are others. */
export function altered<T extends object>(
  { fields }: StructCodec<T>,
  changes: Partial<Fields<T>>,
): StructCodec<T> {
  return struct({ ...fields, ...changes });
}

type Elements<T extends readonly unknown[]> = { readonly [K in keyof T]: Codec<T[K]> };

export function tuple<T extends readonly unknown[]>(...elements: Elements<T>): Codec<T> {
  const codecs = elements as readonly Codec<unknown>[];
  const writes = codecs.map((_, at) => `codecs${at}.write(out, values[${at}]);`);
  const reads = codecs.map((_, at) => `codecs${at}.read(source)`);
  return {
    literal: [0xfd, ...codecs.flatMap((codec) => codec.literal), 0xff],
    write: ownCode(numbered({ codecs }), `(out, values) => { ${writes.join(' ')} }`),
    read: ownCode(numbered({ codecs }), `(source) => [${reads.join(', ')}]`),
  };
}

/** One of several types; the alternative's place in the list is its number on the wire. */
export function variant<T extends Record<string, object>>(
  alternatives: Fields<T>,
): Codec<{ [K in keyof T & string]: { readonly kind: K } & T[K] }[keyof T & string]> {
  const entries = Object.entries(alternatives) as [string, Codec<object>][];
  const codecs = entries.map(([, codec]) => codec);
  const writes = entries.map(
    ([kind], at) => `case '${kind}': out.u8(${at}); codecs${at}.write(out, value); break;`,
  );
  return {
    literal: [0x86, ...codecs.flatMap((codec) => codec.literal), 0xff],
    write: ownCode(
      { ...numbered({ codecs }), assert },
      `(out, value) => {
        switch (value.kind) {
          ${writes.join(' ')}
          default: assert(false, 'a kind is one of the alternatives');
        }
      }`,
    ),
    read(source) {
      const index = source.u8();
      const entry = entries[index];
      if (entry === undefined) throw malformed(`alternative ${index} of ${entries.length}`);
      return Object.assign({ kind: entry[0] }, entry[1].read(source)) as never;
    },
  };
}

/**
 * A function made from `code`, in which the names of `scope` are known. Each codec has code of its own, so
 * that the engine sees, at each place in it, one type only; codecs that share a loop over any fields are
 * several times slower. `code` is ours alone: no byte of a message or an option ever gets into it.
 */
function ownCode<F>(scope: Readonly<Record<string, unknown>>, code: string): F {
  const make = compileFunction(`'use strict'; return ${code};`, Object.keys(scope));
  return make(...Object.values(scope)) as F;
}

/** `{ codecs: [a, b] }` as `{ codecs0: a, codecs1: b }`. */
function numbered(lists: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(lists).flatMap(([name, values]) =>
      values.map((value, at) => [`${name}${at}`, value]),
    ),
  );
}

/** Every element takes a byte or more, so a count beyond the bytes that are left is a lie. */
function readCount(source: ByteReader, countMax: number): number {
  const count = source.length();
  if (count > countMax || count > source.remaining) throw malformed(`a list of ${count} elements`);
  return count;
}
