import {
  type Clock,
  deadline,
  Ending,
  Fault,
  type Logger,
  orAborted,
  type Scheduled,
  type Service,
  sleep,
} from '@tsukimi/base';
import type { BlockHasher } from './block-hash.ts';
import { awaitedHashes, type KeyLayout, KeyLayoutSearch } from './key-layout.ts';
import { type FirstLook, Patience } from './patience.ts';
import type { PrefilledPrompts } from './prefilled-prompts.ts';
import { type KnownPrefix, StoredPrefixes, sampled } from './stored-prefixes.ts';

/** Which keys a store has; `KeyLookup` of `@tsukimi/store` is one. */
export interface StoreKeys {
  exist(keys: readonly string[], signal: AbortSignal): Promise<readonly boolean[]>;
  match(pattern: string, signal: AbortSignal): Promise<readonly string[]>;
  close(): void;
}

/**
 * How a wait ended: everything is there; it did not come in time; how keys are named is not known (yet);
 * no master answers.
 */
export type HandoverOutcome = 'found' | 'missed' | 'unknown_keys' | 'no_master';

export interface StoreHandoverOptions {
  readonly keys: StoreKeys;
  /** What the instances may hash with. */
  readonly hashers: readonly BlockHasher[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** A request is held up for so long at most. */
  readonly boundMs: number;
}

/** Asked for at once: of long prompts a sample. */
const keyCountMax = 1_024;
const firstPauseMs = 2;
const pauseMaxMs = 32;
/** A master that has not answered for so long after the bound is taken for dead. */
const graceMs = 250;
/** A search goes through all keys of the master, so it is made seldom. */
const firstSearchPauseMs = 50;
const searchPauseMaxMs = 400;
const searchRestMs = 1_000;
const searchRestMaxMs = 60_000;
/** An instance's ranks store one after the other: those that the first search missed are found by later ones. */
const searchCountMin = 3;
const masterRestMs = 1_000;
/** Before a choice, where every request waits. */
const lookMs = 20;
const lookKeyCountMax = 64;

/**
 * Holds a request back until the KV that a prefill instance has computed can be found in the store. vLLM's
 * MooncakeStoreConnector stores after it has answered; a decode instance that is asked at once computes
 * again what is not there yet.
 *
 * How keys are named is learnt from the keys of the first prompts, by `KeyLayoutSearch`. Of prompts that begin
 * as earlier ones did it also tells, before anybody is chosen, how much the store has; of our own instances too,
 * which answer when all is stored and tell its keys.
 */
export class StoreHandover implements Service {
  readonly name = 'store hand-over';
  readonly #options: StoreHandoverOptions;
  readonly #patience: Patience;
  readonly #ending = new Ending();
  readonly #waits = new Set<AbortController>();
  /** Of vLLM: by hashes, which `#layout` makes keys of. */
  readonly #prefixes = new StoredPrefixes();
  /** Of our own instances, by keys as they are. */
  readonly #chunks = new StoredPrefixes();
  #layout: KeyLayout | null = null;
  #searching: Promise<void> | null = null;
  #searchCount = 0;
  #failedSearchCount = 0;
  #searchAfterMs = 0;
  #masterAfterMs = 0;
  #lookAfterMs = 0;

  constructor(options: StoreHandoverOptions) {
    this.#options = options;
    this.#patience = new Patience(options.boundMs);
  }

  async start(): Promise<void> {}

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    for (const wait of this.#waits) wait.abort(new Fault('CANCELLED', 'the proxy stops'));
    this.#options.keys.close();
    this.#ending.stopped();
  }

  /**
   * How much the store has of a prompt, in whole blocks of its text, by the hashes of these: calls `onFound`
   * once, and within 20 ms, unless it is cancelled before. Null where nothing is known of such a text.
   */
  look(textHashes: readonly number[], onFound: (blockCount: number) => void): Scheduled | null {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs < this.#masterAfterMs || nowMs < this.#lookAfterMs) return null;
    const chunks = this.#chunks.of(textHashes, lookKeyCountMax);
    const prefixes = chunks.length > 0 ? [''] : (this.#layout?.prefixes ?? []);
    if (prefixes.length === 0) return null;
    const countMax = Math.max(1, Math.floor(lookKeyCountMax / prefixes.length));
    const known = chunks.length > 0 ? chunks : this.#prefixes.of(textHashes, countMax);
    if (known.length === 0) return null;
    return this.#begin((signal) => this.#storedBlockCount(known, prefixes, signal), onFound);
  }

  /** A prefill instance of ours has stored the whole chunks of a prompt, of such text, under these keys. */
  learnChunks(textHashes: readonly number[], keys: readonly string[]): void {
    if (keys.length > 0) this.#chunks.learn(textHashes, keys);
  }

  /**
   * Calls `onOver` once, and later, unless it is cancelled before. Whatever happens to the master or the
   * keys, it is over within the bound. `textHashes` are of the one text of which `prompts` were made.
   */
  wait(
    prompts: PrefilledPrompts,
    textHashes: readonly number[],
    onOver: (outcome: HandoverOutcome) => void,
  ): Scheduled {
    return this.#begin((signal) => this.#boundedOutcome(prompts, textHashes, signal), onOver);
  }

  /** `work` never rejects. */
  #begin<T>(work: (cancelling: AbortSignal) => Promise<T>, onOver: (result: T) => void): Scheduled {
    const cancelling = new AbortController();
    this.#waits.add(cancelling);
    void work(cancelling.signal).then((result) => {
      this.#waits.delete(cancelling);
      if (!cancelling.signal.aborted) onOver(result);
    });
    return { cancel: () => cancelling.abort(new Fault('CANCELLED', 'nobody waits any more')) };
  }

  async #storedBlockCount(
    known: readonly KnownPrefix[],
    prefixes: readonly string[],
    cancelling: AbortSignal,
  ): Promise<number> {
    const { clock, keys } = this.#options;
    using limit = deadline(clock, lookMs, 'a look at the store', cancelling);
    try {
      const asked = known.flatMap(({ hash }) => prefixes.map((prefix) => prefix + hash));
      const missing = (await keys.exist(asked, limit.signal)).indexOf(false);
      const whole = missing < 0 ? known.length : Math.floor(missing / prefixes.length);
      return known[whole - 1]?.blockCount ?? 0;
    } catch {
      if (!cancelling.aborted) this.#lookAfterMs = clock.monotonicMs() + masterRestMs;
      return 0;
    }
  }

  async #boundedOutcome(
    prompts: PrefilledPrompts,
    textHashes: readonly number[],
    cancelling: AbortSignal,
  ): Promise<HandoverOutcome> {
    const { clock, boundMs } = this.#options;
    const limitMs = boundMs + graceMs;
    using limit = deadline(clock, limitMs, 'the hand-over through the store', cancelling);
    try {
      return await this.#outcome(prompts, textHashes, limit.signal);
    } catch (error) {
      if (cancelling.aborted) return 'missed';
      return this.#noMaster(error);
    }
  }

  async #outcome(
    prompts: PrefilledPrompts,
    textHashes: readonly number[],
    signal: AbortSignal,
  ): Promise<HandoverOutcome> {
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    if (startMs < this.#masterAfterMs) return 'no_master';
    if (this.#layout === null) await this.#search(prompts, signal);
    const layout = this.#layout;
    if (layout === null) return 'unknown_keys';
    const hashes = prompts.tokenIds.map((ids) => awaitedHashes(layout, ids, prompts.extras));
    const [first = []] = hashes;
    if (hashes.length === 1) this.#prefixes.learn(textHashes, first);
    const keys = keysOf(layout, hashes);
    let missing = await this.#missing(keys, signal);
    const look: FirstLook = missing.length < keys.length ? 'some' : 'nothing';
    const untilMs = startMs + this.#patience.limitMs(look);
    for (let pauseMs = firstPauseMs; missing.length > 0; pauseMs *= 2) {
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) return this.#missed(look);
      await sleep(clock, Math.min(pauseMs, pauseMaxMs, leftMs), signal);
      signal.throwIfAborted();
      // Blocks are stored in order, so the last one tells whether it is worth asking for all.
      const last = missing.slice(-layout.prefixes.length);
      if ((await this.#missing(last, signal)).length > 0) continue;
      missing = await this.#missing(missing, signal);
    }
    this.#patience.found(look);
    if (this.#searchCount < searchCountMin) this.#searchAgain(prompts);
    return 'found';
  }

  #missed(look: FirstLook): HandoverOutcome {
    // Nothing at all, again and again: instances may have been started anew, with other names.
    if (this.#patience.missed(look) && look === 'nothing') this.#layout = null;
    return 'missed';
  }

  async #missing(keys: readonly string[], signal: AbortSignal): Promise<readonly string[]> {
    const there = await this.#options.keys.exist(keys, signal);
    return keys.filter((_, at) => there[at] !== true);
  }

  #noMaster(error: unknown): HandoverOutcome {
    const { clock, logger } = this.#options;
    const nowMs = clock.monotonicMs();
    // One who waited along with others need not say the same.
    if (nowMs >= this.#masterAfterMs) {
      logger.warn('proxy.store_unreachable', { reason: (error as Error).message });
    }
    this.#masterAfterMs = nowMs + masterRestMs;
    return 'no_master';
  }

  /** All who need to know the names wait for one search. */
  async #search(prompts: PrefilledPrompts, signal: AbortSignal): Promise<void> {
    if (this.#searching === null) {
      if (this.#options.clock.monotonicMs() < this.#searchAfterMs) return;
      this.#searching = this.#searchFor(prompts).finally(() => {
        this.#searching = null;
      });
    }
    await orAborted(this.#searching, signal);
  }

  async #searchFor({ tokenIds, extras }: PrefilledPrompts): Promise<void> {
    const { clock, logger, hashers, keys, boundMs } = this.#options;
    const [first = []] = tokenIds;
    const search = new KeyLayoutSearch(hashers, first, extras);
    if (search.isHopeless) return;
    const untilMs = clock.monotonicMs() + boundMs;
    for (let pauseMs = firstSearchPauseMs; ; pauseMs *= 2) {
      using limit = deadline(clock, untilMs - clock.monotonicMs() + graceMs, 'the search for keys');
      const layout = search.layoutIn(await keys.match(search.pattern, limit.signal));
      if (layout !== null) return this.#learnt(layout);
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0) break;
      await sleep(clock, Math.min(pauseMs, searchPauseMaxMs, leftMs));
    }
    const restMs = Math.min(searchRestMs * 2 ** this.#failedSearchCount, searchRestMaxMs);
    this.#failedSearchCount += 1;
    this.#searchAfterMs = clock.monotonicMs() + restMs;
    logger.warn('proxy.store_keys_unknown', {
      notice:
        'no key in the store is one that the prefill instance could have stored for the prompt, so decode does not wait for it; see that all instances and the proxy have the same PYTHONHASHSEED, that vLLM hashes with sha256 or sha256_cbor, and that the master is the one of the instances',
    });
  }

  #learnt(layout: KeyLayout): void {
    const before = this.#layout;
    this.#searchCount += 1;
    this.#failedSearchCount = 0;
    this.#layout = before === null ? layout : withPrefixes(before, layout);
    if (this.#layout.prefixes.length === before?.prefixes.length) return;
    this.#options.logger.info('proxy.store_keys_learnt', {
      algorithm: layout.hasher.algorithm,
      blockSize: layout.blockSize,
      prefixes: this.#layout.prefixes.length,
      first: layout.prefixes[0],
    });
  }

  /** For ranks that had not stored theirs when the first search found those of others. */
  #searchAgain(prompts: PrefilledPrompts): void {
    if (this.#searching !== null) return;
    this.#searching = this.#searchFor(prompts)
      .catch(() => {})
      .finally(() => {
        this.#searching = null;
      });
  }
}

function withPrefixes(before: KeyLayout, after: KeyLayout): KeyLayout {
  if (before.hasher !== after.hasher || before.blockSize !== after.blockSize) return after;
  return { ...before, prefixes: [...new Set([...before.prefixes, ...after.prefixes])].toSorted() };
}

/** Block by block, so that the keys of the last block come last. Of long prompts a sample. */
function keysOf(
  { prefixes }: KeyLayout,
  hashes: readonly (readonly string[])[],
): readonly string[] {
  const hashCountMax = Math.max(1, Math.floor(keyCountMax / prefixes.length / hashes.length));
  return hashes.flatMap((ofPrompt) =>
    sampled(ofPrompt, hashCountMax).flatMap((hash) => prefixes.map((prefix) => prefix + hash)),
  );
}
