import { timingSafeEqual } from 'node:crypto';
import { Fault, secretDigest } from '@tsukimi/base';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';

/** One client as the keys file has it. The key itself is nowhere, only its SHA-256. */
const entry = z.strictObject({
  name: z.string().min(1).max(128),
  sha256: z.string().regex(/^[0-9a-f]{64}$/i, 'must be 64 hexadecimal digits'),
  /** A whole minute's worth may come at once. */
  requests_per_minute: z.number().positive().optional(),
  max_concurrent_requests: z.number().int().positive().optional(),
});
const keysFile = z.strictObject({ keys: z.array(entry).max(10_000) });

export interface ClientKey {
  readonly name: string;
  readonly digest: Buffer;
  readonly requestsPerMinute: number | null;
  readonly concurrencyMax: number | null;
}

/** What a key has used. Kept by name when the file is read again. */
interface Use {
  activeCount: number;
  /** Requests that may come now; grows with time up to a minute's worth. */
  allowance: number;
  countedMs: number;
  /** Since the other processes of this proxy were told last. */
  enteredCount: number;
}

/** Of each key: requests in progress, and those that came since it was told last. */
export type KeyUses = readonly (readonly [
  name: string,
  activeCount: number,
  enteredCount: number,
])[];

export type Entry =
  | { readonly allowed: true; readonly remaining: number | null }
  | {
      readonly allowed: false;
      readonly why: 'rate' | 'concurrency';
      readonly retryAfterMs: number;
    };

const retryWhenBusyMs = 1_000;

/**
 * Who may use the proxy, and how much: everybody, or who has one of the keys. Time comes from outside, in
 * milliseconds of the monotonic clock.
 */
export class ClientKeys {
  readonly required: boolean;
  #keys: readonly ClientKey[];
  readonly #uses = new Map<string, Use>();
  /** What other processes of this proxy have told last, by who they are. */
  readonly #elsewhere = new Map<number, ReadonlyMap<string, number>>();

  /** `required` with no keys at all lets nobody in. */
  constructor(keys: readonly ClientKey[], required: boolean) {
    this.#keys = keys;
    this.required = required;
  }

  /** Takes other keys from now on; running requests and used allowances stay counted. */
  replace(keys: readonly ClientKey[]): void {
    this.#keys = keys;
    const names = new Set(keys.map(({ name }) => name));
    for (const [name, { activeCount }] of this.#uses) {
      if (!names.has(name) && activeCount === 0) this.#uses.delete(name);
    }
  }

  /** Takes as long for a wrong key as for a right one, wherever they differ. */
  find(key: string): ClientKey | null {
    const digest = secretDigest(key);
    let found: ClientKey | null = null;
    for (const candidate of this.#keys) {
      if (timingSafeEqual(candidate.digest, digest)) found ??= candidate;
    }
    return found;
  }

  /** Counts a request in if the key's limits allow it; it then `leave`s once. */
  enter(key: ClientKey, nowMs: number): Entry {
    const use = this.#useOf(key, nowMs);
    if (
      key.concurrencyMax !== null &&
      use.activeCount + this.#activeElsewhere(key) >= key.concurrencyMax
    ) {
      return { allowed: false, why: 'concurrency', retryAfterMs: retryWhenBusyMs };
    }
    const perMinute = key.requestsPerMinute;
    if (perMinute !== null) {
      const passedMs = nowMs - use.countedMs;
      use.allowance = Math.min(
        Math.max(1, perMinute),
        use.allowance + (passedMs * perMinute) / 60_000,
      );
      use.countedMs = nowMs;
      if (use.allowance < 1) {
        const retryAfterMs = Math.ceil(((1 - use.allowance) * 60_000) / perMinute);
        return { allowed: false, why: 'rate', retryAfterMs };
      }
      use.allowance -= 1;
    }
    use.activeCount += 1;
    use.enteredCount += 1;
    return { allowed: true, remaining: perMinute === null ? null : Math.floor(use.allowance) };
  }

  leave(key: ClientKey): void {
    const use = this.#uses.get(key.name);
    if (use !== undefined) use.activeCount -= 1;
  }

  /** For other processes of this proxy. */
  usesSinceLast(): KeyUses {
    const told: [string, number, number][] = [];
    for (const [name, use] of this.#uses) {
      if (use.activeCount === 0 && use.enteredCount === 0) continue;
      told.push([name, use.activeCount, use.enteredCount]);
      use.enteredCount = 0;
    }
    return told;
  }

  /** What another process of this proxy, `from`, has told. */
  usedElsewhere(from: number, uses: KeyUses, nowMs: number): void {
    this.#elsewhere.set(from, new Map(uses.map(([name, activeCount]) => [name, activeCount])));
    for (const [name, , enteredCount] of uses) {
      const key = this.#keys.find((one) => one.name === name);
      if (key === undefined || key.requestsPerMinute === null || enteredCount === 0) continue;
      const use = this.#useOf(key, nowMs);
      use.allowance = Math.max(0, use.allowance - enteredCount);
    }
  }

  /** It is gone, and its requests too. */
  forgetElsewhere(from: number): void {
    this.#elsewhere.delete(from);
  }

  #activeElsewhere({ name }: ClientKey): number {
    let count = 0;
    for (const uses of this.#elsewhere.values()) count += uses.get(name) ?? 0;
    return count;
  }

  #useOf(key: ClientKey, nowMs: number): Use {
    let use = this.#uses.get(key.name);
    if (use === undefined) {
      use = {
        activeCount: 0,
        allowance: Math.max(1, key.requestsPerMinute ?? 1),
        countedMs: nowMs,
        enteredCount: 0,
      };
      this.#uses.set(key.name, use);
    }
    return use;
  }
}

/** A key that is given as itself, without limits: for `--api-key`. */
export function plainKey(key: string, name: string): ClientKey {
  return { name, digest: secretDigest(key), requestsPerMinute: null, concurrencyMax: null };
}

/** `text` is the keys file, YAML or JSON; `where` names it in the error. Throws `INVALID_ARGUMENT`. */
export function clientKeysIn(text: string, where: string): ClientKey[] {
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (error) {
    throw new Fault('INVALID_ARGUMENT', `${where}: ${(error as Error).message}`);
  }
  const parsed = keysFile.safeParse(document);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue?.path.join('.') ?? '';
    throw new Fault('INVALID_ARGUMENT', `${where}: ${field}: ${issue?.message}`);
  }
  const names = new Set<string>();
  return parsed.data.keys.map((one) => {
    if (names.has(one.name)) {
      throw new Fault('INVALID_ARGUMENT', `${where}: keys: "${one.name}" is there twice`);
    }
    names.add(one.name);
    return {
      name: one.name,
      digest: Buffer.from(one.sha256, 'hex'),
      requestsPerMinute: one.requests_per_minute ?? null,
      concurrencyMax: one.max_concurrent_requests ?? null,
    };
  });
}
