import { hasLegs } from './api-paths.ts';
import { JsonMembers } from './json-members.ts';
import type { LegCall } from './leg-call.ts';
import { streamForm } from './stream-form.ts';

/** A whole answer of status 200 that is none. `status` is what it should have been answered with. */
export interface Flaw {
  readonly kind: 'error-inside' | 'malformed';
  readonly status: number;
  readonly message: string;
}

const openers = [0x7b, 0x5b];
const closers = [0x7d, 0x5d];

/**
 * Looks for what engines, and whatever stands before them, send as 200 though it is no answer: an error
 * inside, a generation that was aborted, no JSON, a body cut where only the end of the connection tells its
 * length. Null when all is well, which costs no more than a search.
 */
export function flawOf(
  { body, headers, contentType }: Pick<LegCall, 'body' | 'headers' | 'contentType'>,
  path: string,
): Flaw | null {
  // Of a prefill leg that is the client's request unchanged.
  if (contentType.startsWith('text/event-stream')) {
    return streamForm(path).fails(body, body.length) ? errorInside(null) : null;
  }
  // What else is passed through may be of any kind.
  if (!hasLegs(path) && !contentType.includes('json')) return null;
  let first = 0;
  while ((body[first] ?? 0xff) <= 0x20) first += 1;
  let last = body.length - 1;
  while ((body[last] ?? 0xff) <= 0x20) last -= 1;
  const kind = openers.indexOf(body[first] ?? 0);
  if (kind < 0 || body[last] !== closers[kind]) return malformed('answered with what is no JSON');
  const framed =
    headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
  if (kind === 1) return null;
  if (framed && !/"(?:error|abort)"/.test(body.toString('latin1'))) return null;
  const members = JsonMembers.tryParse(body);
  if (members === null) return malformed('answered with what is no JSON');
  const error = members.raw('error');
  if (members.scalar('object') === 'error') return errorInside(members);
  if (error !== null && error.toString() !== 'null') {
    const inside = error[0] === 0x7b ? JsonMembers.tryParse(error) : null;
    return errorInside(inside);
  }
  const choices = members.raw('choices')?.toString('latin1') ?? '';
  return /"finish_reason": ?"abort"/.test(choices) ? malformed('aborted the request') : null;
}

function errorInside(error: JsonMembers | null): Flaw {
  const told = Number(error?.scalar('code'));
  const status = Number.isInteger(told) && told >= 400 && told < 600 ? told : 500;
  return {
    kind: 'error-inside',
    status,
    message: `answered 200 with an error of ${status} inside`,
  };
}

function malformed(message: string): Flaw {
  return { kind: 'malformed', status: 502, message };
}
