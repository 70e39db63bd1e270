import { Fault } from '@tsukimi/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonMembers } from '../src/json-members.ts';

/** JSON text with spacing and escapes as unlike `JSON.stringify` as the grammar allows. */
function spelled(value: unknown, noise: () => string): string {
  const space = () => [' ', '\n', '\t', '\r', '', '', ''][noise().length % 7] ?? '';
  if (typeof value === 'string') {
    const units = Array.from({ length: value.length }, (_, at) => value.charCodeAt(at));
    const unit = (code: number) => `\\u${code.toString(16).padStart(4, '0')}`;
    return noise().length % 3 === 0 ? `"${units.map(unit).join('')}"` : JSON.stringify(value);
  }
  if (Array.isArray(value)) {
    return `[${space()}${value.map((one) => spelled(one, noise) + space()).join(`,${space()}`)}]`;
  }
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value).map(
      ([name, one]) =>
        `${spelled(name, noise)}${space()}:${space()}${spelled(one, noise)}${space()}`,
    );
    return `{${space()}${members.join(`,${space()}`)}}`;
  }
  return JSON.stringify(value);
}

const names = fc.constantFrom('model', 'prompt', 'n', 'max_tokens', 'stream', 'a"b', 'é', 'a\\b');
// V8 of Node 24 itself reads {"a":1,"\\u0020":2} wrongly once it has seen {"a":1,"\\\\":2}: JSON.parse is no
// judge of documents that have a name beginning with a backslash.
const otherNames = fc.string().filter((name) => !name.startsWith('\\'));
const objects = fc.dictionary(fc.oneof(names, otherNames), fc.jsonValue({ maxDepth: 3 }), {
  noNullPrototype: true,
});

describe('JsonMembers', () => {
  it('patches to what parsing, changing and printing would give', () => {
    fc.assert(
      fc.property(
        objects,
        fc.dictionary(names, fc.jsonValue({ maxDepth: 1 }), { noNullPrototype: true }),
        fc.array(names),
        fc.infiniteStream(fc.string({ maxLength: 20 })),
        (value, set, drop, noise) => {
          const document =
            JSON.stringify(value) === '{}'
              ? '{}'
              : spelled(value, () => noise.next().value as string);
          const expected = JSON.parse(document) as Record<string, unknown>;
          for (const name of drop) delete expected[name];
          for (const [name, one] of Object.entries(set)) {
            delete expected[name];
            expected[name] = JSON.parse(JSON.stringify(one));
          }
          const patched = JsonMembers.parse(Buffer.from(document)).patched({
            set: Object.fromEntries(
              Object.entries(set).map(([name, one]) => [name, JSON.stringify(one)]),
            ),
            delete: drop,
          });
          expect(JSON.parse(patched.toString())).toEqual(expected);
        },
      ),
    );
  });

  it('accepts exactly what JSON.parse takes for an object, however it is damaged', () => {
    const damaged = fc
      .tuple(
        objects,
        fc.nat(),
        fc.constantFrom('', ',', '"', '{', ']', '\\', '0', '\u0001', '-', 'e'),
      )
      .map(([value, at, put]) => {
        const text = JSON.stringify(value);
        const from = at % text.length;
        return text.slice(0, from) + put + text.slice(from + (at % 3));
      });
    fc.assert(
      fc.property(damaged, (text) => {
        // Lone surrogates cannot be written in UTF-8; what arrives is what counts.
        const arrived = Buffer.from(text).toString();
        let isObject = false;
        try {
          const parsed: unknown = JSON.parse(arrived);
          isObject = parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed);
        } catch {}
        let accepted = true;
        try {
          JsonMembers.parse(Buffer.from(arrived));
        } catch (error) {
          expect(Fault.has(error, 'INVALID_ARGUMENT')).toBe(true);
          accepted = false;
        }
        expect(accepted).toBe(isObject);
      }),
      { numRuns: 500 },
    );
  });

  it('leaves the bytes of other members alone, 64-bit integers included', () => {
    const members = JsonMembers.parse(
      Buffer.from('{ "bootstrap_room" : 9223372036854775807 , "n":2, "x": {"é":"\\u00e9"} }'),
    );
    expect(members.patched({ set: { n: '1' } }).toString()).toBe(
      '{"bootstrap_room" : 9223372036854775807,"x": {"é":"\\u00e9"},"n":1}',
    );
  });

  it('replaces every occurrence of a name and reads the last', () => {
    const members = JsonMembers.parse(Buffer.from('{"n":3,"a":1,"\\u006e":4}'));
    expect(members.scalar('n')).toBe(4);
    expect(members.patched({ set: { n: '1' } }).toString()).toBe('{"a":1,"n":1}');
    expect(members.patched({ delete: ['n', 'a'] }).toString()).toBe('{}');
  });

  it.each([
    '',
    'null',
    '[]',
    '{"a":1}x',
    '{"a":01}',
    '{"a":+1}',
    '{"a":"\\x"}',
    '{"a":"\\u12g4"}',
    '{"a":[1,]}',
    '{"a":tru}',
    `{"a":${'['.repeat(100_000)}`,
    `{${Array.from({ length: 2_000 }, (_, at) => `"a${at}":0`).join()}}`,
  ])('refuses %.20s', (text) => {
    expect(() => JsonMembers.parse(Buffer.from(text))).toThrow(/not valid JSON/);
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(() => JsonMembers.parse(Buffer.from([0x7b, 0x22, 0xff, 0x22]))).toThrow(/UTF-8/);
  });

  it('counts texts, and arrays of token ids, but not the ids of one', () => {
    const count = (prompt: string) =>
      JsonMembers.parse(Buffer.from(`{"prompt":${prompt}}`)).textCount('prompt');
    expect(['"a"', '[1,2]', '[]', 'null', '[{"a":"b"}]'].map(count)).toEqual(Array(5).fill(null));
    expect(['["a"]', '[[1,2]]', '["a" ,"b"]', '[[1],[2] , [3,"]"]]'].map(count)).toEqual([
      1, 1, 2, 3,
    ]);
  });
});
