import { hasLegs } from './api-paths.ts';
import { generatesForHealth } from './core/identity.ts';
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

/** Whether a status says that the instance failed: not 501 and 505, which tell of the request as 4xx do. */
export function tellsOfFailure(status: number): boolean {
  return status >= 500 && status !== 501 && status !== 505;
}

/**
 * Whether a refusal (4xx, 501) is about the instance rather than about the request. `model` is asked for;
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
    case 404:
    case 501: {
      const ofModel = status === 404 && body.includes('model');
      return others.some(
        (other) =>
          other.state.name === 'up' &&
          other.identity?.modelIds.includes(model) === true &&
          // What one engine cannot do, others of its make cannot do either.
          (ofModel || makeOf(other) !== makeOf(refusing)),
      );
    }
    default:
      return false;
  }
}

/** As far as instances tell: most of what is neither ours nor SGLang is vLLM, or behaves as it. */
function makeOf({ identity }: PoolInstance): string {
  if (identity === null) return 'unknown';
  if (identity.ours) return 'tsukimi';
  return generatesForHealth(identity) ? 'sglang' : 'vllm';
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
