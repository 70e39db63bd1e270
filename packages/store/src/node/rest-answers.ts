/** An answer of the REST interface. */
export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

type Json = string | number | boolean | readonly Json[] | { readonly [name: string]: Json };

export function json(status: number, value: Json): Answer {
  const type = 'application/json; charset=utf-8';
  return { status, type, body: Buffer.from(spaced(value)) };
}

export function success(): Answer {
  return json(200, { status: 'success' });
}

export function failure(status: number, error: string): Answer {
  return json(status, { error });
}

/** JSON as Python writes it, since some compare texts: a space after each comma and colon, ASCII alone. */
function spaced(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(spaced).join(', ')}]`;
  if (typeof value === 'object') {
    const members = Object.entries(value).map(([name, member]) => `"${name}": ${spaced(member)}`);
    return `{${members.join(', ')}}`;
  }
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
