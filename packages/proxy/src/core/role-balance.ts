import { loadOf } from './policies/policy.ts';
import type { InstanceKind, PoolInstance } from './pool-instance.ts';

export interface Move {
  readonly instance: PoolInstance;
  readonly to: InstanceKind;
}

/** What counts as full: prompts that wait for this long, tokens that take this long. */
const fullMs = { prefill: 2_000, decode: 100 } as const;
/** One side is this full, and the other at most that. */
const pressing = 1;
const relaxed = 0.5;
/** For so many looks in a row, so that a burst moves nobody. */
const looksUntilMove = 3;
/** Looks after a move in which what it does is awaited. */
const looksToRest = 6;

/**
 * Which instance should change sides, look by look: one that says that it can do both, from the side that
 * has little to do to the one that is full. One at a time, after a pause, and never the last of a side.
 */
export class RoleBalance {
  #favoured: InstanceKind | null = null;
  #lookCount = 0;
  #restCount = 0;

  /** `instances`: all that are up and stay. */
  look(instances: readonly PoolInstance[]): Move | null {
    if (this.#restCount > 0) {
      this.#restCount -= 1;
      return null;
    }
    const favoured = favouredOf(instances);
    this.#lookCount = favoured !== null && favoured === this.#favoured ? this.#lookCount + 1 : 1;
    this.#favoured = favoured;
    if (favoured === null || this.#lookCount < looksUntilMove) return null;
    const givers = instances.filter(({ kind }) => kind !== favoured);
    const movable = givers.filter(({ identity }) => identity?.kvRole === 'kv_both');
    const [first] = movable.toSorted((one, other) => loadOf(one) - loadOf(other));
    if (givers.length < 2 || first === undefined) return null;
    this.#lookCount = 0;
    this.#restCount = looksToRest;
    return { instance: first, to: favoured };
  }
}

function favouredOf(instances: readonly PoolInstance[]): InstanceKind | null {
  const prefill = pressureOf(instances, 'prefill');
  const decode = pressureOf(instances, 'decode');
  if (prefill >= pressing && decode <= relaxed) return 'prefill';
  return decode >= pressing && prefill <= relaxed ? 'decode' : null;
}

/** The mean over a side; 1 is full. */
function pressureOf(instances: readonly PoolInstance[], side: InstanceKind): number {
  let sum = 0;
  let count = 0;
  for (const one of instances) {
    if (one.kind !== side) continue;
    count += 1;
    const waitMs = (one.queuedTokenCount / one.prefillTokensPerSecond) * 1_000;
    if (side === 'prefill') sum += waitMs / fullMs.prefill;
    // What was measured of one that has nothing to do is no pressure.
    else if (one.activeRequestCount > 0) sum += one.decodeMsPerToken / fullMs.decode;
  }
  return count === 0 ? 0 : sum / count;
}
