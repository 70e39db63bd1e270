import { Fault } from '@tsukimi/base';

/** JSON as Mooncake's peers write it: integers may need all 64 bits, those beyond 2^53 are bigints. */
export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

/**
 * A private-use character in front marks a wide integer between the two steps of `parseJson`. Text
 * that holds the character itself is refused, so it cannot be imitated.
 */
const wideMark = '\uE000';
const stringOrWideInteger = /"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g;

/** Reads JSON without rounding 64-bit integers. Throws `MALFORMED`; `what` names the source. */
export function parseJson(text: string, what: string): JsonValue {
  if (text.includes(wideMark))
    throw new Fault('MALFORMED', `${what}: holds a private-use character`);
  const marked = text.replace(stringOrWideInteger, (token) =>
    token.startsWith('"') || Number.isSafeInteger(Number(token)) ? token : `"${wideMark}${token}"`,
  );
  try {
    return JSON.parse(marked, (_name, value: unknown) =>
      typeof value === 'string' && value.startsWith(wideMark) ? BigInt(value.slice(1)) : value,
    ) as JsonValue;
  } catch (error) {
    throw new Fault('MALFORMED', `${what}: is not JSON`, { cause: error });
  }
}

/** Compact, names sorted by their code units, the bytes jsoncpp writes for the same value. */
export function sortedJson(value: JsonValue): string {
  if (typeof value === 'bigint') return value.toString();
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (isArray(value)) return `[${value.map(sortedJson).join(',')}]`;
  const members = Object.keys(value)
    .sort()
    .flatMap((name) => {
      const member = value[name];
      return member === undefined ? [] : [`${JSON.stringify(name)}:${sortedJson(member)}`];
    });
  return `{${members.join(',')}}`;
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}
