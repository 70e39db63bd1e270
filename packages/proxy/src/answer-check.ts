import { hasLegs } from './api-paths.ts';
import type { PoolInstance } from './core/pool-instance.ts';
import { JsonMembers } from './json-members.ts';
import type { LegCall, WholeAnswer } from './leg-call.ts';
import { streamForm } from './stream-form.ts';
import { type ToldError, toldError } from './told-error.ts';

/** A whole answer of status 200 that is none. `status` is what it should have been answered with. */
export interface Flaw {
  readonly kind: 'error-inside' | 'malformed';
  readonly status: number;
  readonly message: string;
}

/** What an answer without an error may have for one. */
const noErrors: readonly string[] = ['null', 'false', '""', '{}', '[]'];
const aborted = /"finish_reason": ?(?:"abort"|\{[^{}]*"type": ?"abort")/;
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
    const error = streamForm(path).errorIn(body, body.length);
    return error === null ? null : errorInside(error);
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
  const error = members.raw('error')?.toString() ?? 'null';
  if (members.scalar('object') === 'error' || !noErrors.includes(error)) {
    return errorInside(toldError(body.toString()));
  }
  const outputs = (members.raw('choices') ?? members.raw('meta_info'))?.toString('latin1') ?? '';
  return aborted.test(outputs) ? malformed('aborted the request') : null;
}

/**
 * Whether a refusal (4xx) is about the instance rather than about the request. `model` is asked for;
 * `others` do not include who refused.
 */
export function othersMayServe(
  { status, body }: WholeAnswer,
  refusing: PoolInstance,
  others: readonly PoolInstance[],
  { model, carriesClientKey }: { readonly model: string; readonly carriesClientKey: boolean },
): boolean {
  switch (status) {
    case 408:
    case 429:
      return true;
    case 401:
    case 403:
      return !carriesClientKey;
    case 404: {
      const ofModel = body.includes('model');
      return others.some(
        ({ state, identity }) =>
          state.name === 'up' &&
          identity?.modelIds.includes(model) === true &&
          // A path that one engine does not have, others of its kind do not have either.
          (ofModel || identity.ours !== refusing.identity?.ours),
      );
    }
    default:
      return false;
  }
}

function errorInside({ status }: ToldError): Flaw {
  return {
    kind: 'error-inside',
    status,
    message: `answered 200 with an error of ${status} inside`,
  };
}

function malformed(message: string): Flaw {
  return { kind: 'malformed', status: 502, message };
}
