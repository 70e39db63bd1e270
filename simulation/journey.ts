import type { Clock } from '@tsukimi/base';
import type { Assignment, InstancePool, PoolInstance, RequestFacts, Waiter } from '@tsukimi/proxy';
import type { BlockStore, SimulatedInstance } from './instance.ts';
import type { TraceRequest } from './trace.ts';

/** How one request of the trace went. Times in ms from its arrival; 0 for one that was refused. */
export interface Outcome {
  readonly request: TraceRequest;
  readonly end: 'answered' | 'refused';
  readonly firstTokenMs: number;
  readonly lastTokenMs: number;
  /** Prompt tokens that prefill computed. */
  readonly computedTokens: number;
  /** What decode computed once more because the store had lost it, without the last one, which it always repeats. */
  readonly repeatedTokens: number;
  /** Leading tokens that the policy took to be cached where it sent the prompt. */
  readonly predictedHitTokens: number;
}

export interface Node {
  readonly instance: SimulatedInstance;
  /** What its prefixes are kept in besides its own memory. */
  readonly store: BlockStore | null;
}

export interface JourneyParts {
  readonly clock: Clock;
  readonly pool: InstancePool;
  readonly nodes: ReadonlyMap<PoolInstance, Node>;
  /** Through which KV is handed over; null: it goes straight from prefill to decode. */
  readonly sharedStore: BlockStore | null;
  readonly blockTokens: number;
  readonly hopMs: number;
  readonly onEnd: (outcome: Outcome) => void;
}

/** What the proxy takes an answer to have when the client does not say. */
const expectedOutputTokens = 256;

/** Everything that prefill computed, for the one decode instance that it is meant for. */
const straightFromPrefill: BlockStore = {
  leadingCount: (blocks) => blocks.length,
  put: () => {},
};

/** One request on its way: from the proxy to prefill, to decode, and back. */
export class Journey implements Waiter {
  readonly #request: TraceRequest;
  readonly #parts: JourneyParts;
  readonly #arrivedMs: number;
  #facts: RequestFacts | null = null;
  #computedTokens = 0;
  #repeatedTokens = 0;
  #predictedHitTokens = 0;
  #firstTokenMs = 0;

  constructor(request: TraceRequest, parts: JourneyParts) {
    this.#request = request;
    this.#parts = parts;
    this.#arrivedMs = parts.clock.monotonicMs();
  }

  begin(): void {
    const { pool, clock } = this.#parts;
    const { inputTokens, blocks } = this.#request;
    const facts = this.#factsNow();
    const assignment = pool.assign('prefill', pool.up('prefill'), facts, clock.monotonicMs());
    this.#predictedHitTokens = assignment.hitTokenCount;
    const { instance, store } = this.#nodeOf(assignment);
    this.#afterHop(() =>
      instance.submit({
        ...{ inputTokens, outputTokens: 1, blocks, source: store, target: store },
        onFirstToken: (computedTokens) => {
          this.#computedTokens = computedTokens;
        },
        onEnd: () => this.#afterHop(() => this.#prefilled(assignment)),
      }),
    );
  }

  /** The proxy has no room for it. */
  pushOut(): void {
    this.#end('refused', 0);
  }

  #prefilled(prefill: Assignment<PoolInstance>): void {
    const { pool, clock, sharedStore } = this.#parts;
    const nowMs = clock.monotonicMs();
    prefill.promptDone(nowMs);
    pool.release(prefill, 'answered', nowMs, 0);
    const decode = pool.assign('decode', pool.up('decode'), this.#factsNow(), nowMs);
    const { inputTokens, outputTokens, blocks } = this.#request;
    this.#afterHop(() =>
      this.#nodeOf(decode).instance.submit({
        ...{ inputTokens, outputTokens, blocks, target: null },
        source: sharedStore ?? straightFromPrefill,
        onFirstToken: (computedTokens) => {
          this.#repeatedTokens = computedTokens - 1;
          this.#afterHop(() => {
            this.#firstTokenMs = clock.monotonicMs() - this.#arrivedMs;
            decode.promptDone(clock.monotonicMs());
          });
        },
        onEnd: () =>
          this.#afterHop(() => {
            pool.release(decode, 'answered', clock.monotonicMs(), outputTokens);
            this.#end('answered', clock.monotonicMs() - this.#arrivedMs);
          }),
      }),
    );
  }

  #end(end: Outcome['end'], lastTokenMs: number): void {
    this.#parts.onEnd({
      ...{ request: this.#request, end, lastTokenMs, firstTokenMs: this.#firstTokenMs },
      ...{ computedTokens: this.#computedTokens, repeatedTokens: this.#repeatedTokens },
      predictedHitTokens: this.#predictedHitTokens,
    });
  }

  /** What the proxy can know. The traces tell of no sessions: those with the same second block are one. */
  #factsNow(): RequestFacts {
    const { blocks, inputTokens } = this.#request;
    const { blockTokens, pool } = this.#parts;
    this.#facts ??= {
      promptTokenCount: inputTokens,
      outputTokenCount: expectedOutputTokens,
      sessionKey: String(blocks[1] ?? blocks[0]),
      blockHashes: blocks,
      blockTokenCount: blockTokens,
      storedTokenCount: pool.reads('store') ? this.#storedTokens() : 0,
    };
    return this.#facts;
  }

  /** What the master says of a prompt whose blocks' keys the proxy knows, as it arrives. */
  #storedTokens(): number {
    const { blocks, inputTokens } = this.#request;
    const { sharedStore, blockTokens } = this.#parts;
    return Math.min((sharedStore?.leadingCount(blocks) ?? 0) * blockTokens, inputTokens);
  }

  #nodeOf({ instance }: Assignment<PoolInstance>): Node {
    return this.#parts.nodes.get(instance) as Node;
  }

  #afterHop(then: () => void): void {
    this.#parts.clock.schedule(this.#parts.hopMs, then);
  }
}
