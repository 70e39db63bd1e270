import type { Endpoint, InstanceKind } from '../core/pool-instance.ts';
import { parseEndpoints } from './endpoints.ts';
import { pdHintIn } from './pd-fields.ts';

export type Answer = readonly [status: number, body: unknown];

/** What a body under `/instances` asks for. */
export interface AdminCall {
  /** null: not said. */
  readonly kind: InstanceKind | null;
  readonly endpoints: readonly Endpoint[];
  /** The instances as they were written. */
  readonly shown: string;
  /** They came as `instances`, a text or an array, or as a range, and not as the demo's `instance`. */
  readonly listed: boolean;
  /** From `ttl_seconds`: the instance speaks for itself, and again within this time. */
  readonly ttlMs: number | null;
  /** From `deadline_seconds`. */
  readonly deadlineMs: number | null;
}

const ttlSecondsMax = 3_600;
const deadlineSecondsMax = 86_400;
const listLengthMax = 1_024;

/**
 * Reads a body, or gives the answer that refuses it, in the demo's words where it has any. `needsKind`:
 * the call means nothing without `type`.
 */
export function parseAdminCall(body: Buffer, needsKind: boolean): AdminCall | Answer {
  let fields: Record<string, unknown>;
  try {
    fields = Object(JSON.parse(body.toString('utf8'))) as Record<string, unknown>;
  } catch (error) {
    return detail(500, (error as Error).message);
  }
  const { type, instance, instances } = fields;
  const isKind = type === 'prefill' || type === 'decode';
  // The demo looks at the type before it looks at the instance.
  if (!isKind && (needsKind || type !== undefined)) {
    return detail(400, 'Invalid instance type.');
  }
  const listed = instance === undefined && instances !== undefined;
  const texts: unknown[] = listed ? [instances].flat() : [instance];
  if (texts.length === 0 || texts.length > listLengthMax) {
    return detail(400, 'Invalid instance format.');
  }
  const endpoints: Endpoint[] = [];
  for (const text of texts) {
    if (typeof text !== 'string' || !/[:@]/.test(text)) {
      return detail(400, 'Invalid instance format.');
    }
    if (text.split(':').length > 2 && !/^(\[|https?:\/\/)/i.test(text)) {
      return detail(500, 'too many values to unpack (expected 2)');
    }
    try {
      endpoints.push(...parseEndpoints(text, 'instance'));
    } catch {
      return detail(400, 'Invalid instance address.');
    }
  }
  const ttlMs = secondsOf(fields['ttl_seconds'], ttlSecondsMax);
  const deadlineMs = secondsOf(fields['deadline_seconds'], deadlineSecondsMax);
  if (ttlMs === 'bad' || (ttlMs !== null && ttlMs < 1_000)) {
    return detail(400, `ttl_seconds is not in 1 to ${ttlSecondsMax}.`);
  }
  if (deadlineMs === 'bad') {
    return detail(400, `deadline_seconds is not in 0 to ${deadlineSecondsMax}.`);
  }
  const pd = pdHintIn(fields);
  if (typeof pd === 'string') return detail(400, pd);
  const shown = texts.join(', ');
  return {
    kind: isKind ? type : null,
    endpoints: pd === null ? endpoints : endpoints.map((one) => ({ ...one, pd })),
    shown,
    listed: listed || endpoints.length > 1,
    ttlMs,
    deadlineMs,
  };
}

export function detail(status: number, text: string): Answer {
  return [status, { detail: text }];
}

/** Milliseconds. */
function secondsOf(value: unknown, max: number): number | null | 'bad' {
  if (value === undefined || value === null) return null;
  return typeof value === 'number' && value >= 0 && value <= max ? value * 1_000 : 'bad';
}
