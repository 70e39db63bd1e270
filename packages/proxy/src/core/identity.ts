import type { PdFacts } from './pd-facts.ts';

/** What an instance told about itself. */
export interface Identity {
  /** Every id that its `/v1/models` lists. */
  readonly modelIds: readonly string[];
  /** The entries of its `/v1/models`, as they came. */
  readonly models: readonly unknown[];
  /** It answers `/tsukimi/instance`: token ids, resuming and our own fields are understood. */
  readonly ours: boolean;
  /** Of weights and cache layout; only instances of ours tell. */
  readonly fingerprint: string | null;
  readonly tensorParallelSize: number | null;
  /** Differs from one start of an engine to the next; null where the engine does not tell. */
  readonly engineId: string | null;
  /** The role its configuration fixed; null where it does not tell, or has none. */
  readonly kvRole: 'kv_producer' | 'kv_consumer' | 'kv_both' | null;
  /** How its legs are made; null while that is not known. */
  readonly pd: PdFacts | null;
}

/** Its `/health` generates a token, as SGLang's does; so it takes longer, and tells more. */
export function generatesForHealth({ models }: Identity): boolean {
  return (models[0] as { owned_by?: unknown } | undefined)?.owned_by === 'sglang';
}

/** Whole ids, over all that are served; a path and its last part alone are the same model. */
export function servesModel(ids: readonly string[], model: string): boolean {
  return ids.some((id) => id === model || lastPart(id) === model || id === lastPart(model));
}

export function mismatchReason(ids: readonly string[], model: string): string {
  const served = ids.length === 0 ? 'no model' : ids.map((id) => `"${id}"`).join(', ');
  return `serves ${served}, not "${model}" as --model says`;
}

/** What shows that another engine answers now than before; null when it is the same, as far as one can tell. */
export function replacementReason(before: Identity, now: Identity): string | null {
  if (before.ours !== now.ours) return 'it is of another make';
  if (before.engineId !== null && now.engineId !== null && before.engineId !== now.engineId) {
    return 'it was started anew';
  }
  if (startsOf(before) !== startsOf(now)) return 'its bootstrap server tells of other engines';
  if (before.fingerprint !== now.fingerprint) return 'it has another fingerprint';
  const same =
    before.modelIds.length === now.modelIds.length &&
    before.modelIds.every((id) => now.modelIds.includes(id));
  return same ? null : 'it serves other models';
}

/** Whether an instance that says `kvRole` can do the work of `kind`. */
export function fitsKind({ kvRole }: Identity, kind: 'prefill' | 'decode'): boolean {
  if (kvRole === 'kv_producer') return kind === 'prefill';
  return kvRole !== 'kv_consumer' || kind === 'decode';
}

function lastPart(id: string): string {
  return id.slice(id.lastIndexOf('/') + 1);
}

/** Of MooncakeConnector: engines make their ids anew at every start unless configured. */
function startsOf({ pd }: Identity): string {
  return pd?.protocol === 'mooncake' ? (pd.bootstrap?.engineIds.join() ?? '') : '';
}
