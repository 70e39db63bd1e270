import { Fault, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { BlockHasher } from '../../src/vllm-store/block-hash.ts';
import { hashersFor } from '../../src/vllm-store/key-layout.ts';
import type { PrefilledPrompts } from '../../src/vllm-store/prefilled-prompts.ts';
import { StoreHandover, type StoreKeys } from '../../src/vllm-store/store-handover.ts';

const extras = { lora: null, cacheSalt: null };
const ranks = [0, 1].map((rank) => `m@tp_rank:${rank}@group:0@`);

/** The keys that a prefill instance stores for a prompt of three full blocks. */
class Prompt implements PrefilledPrompts {
  readonly tokenIds: readonly (readonly number[])[];
  readonly extras = extras;
  /** Hashes of six blocks of text, which are three of tokens. */
  readonly text: readonly number[];
  readonly keys: readonly string[];

  constructor(seed: number, hasher = new BlockHasher('sha256', 'vllm-none-hash')) {
    const ids = Array.from({ length: 100 }, (_, at) => seed * 1_000 + at);
    this.tokenIds = [ids];
    this.text = Array.from({ length: 6 }, (_, at) => seed * 1_000 + at);
    this.keys = hasher
      .hashes(ids, 32, 3, extras)
      .flatMap((hash) => ranks.map((rank) => rank + hash));
  }
}

class FakeKeys implements StoreKeys {
  readonly stored = new Set<string>();
  /** What calls reject with. */
  fault: Fault | null = null;
  hangs = false;
  existCount = 0;
  matchCount = 0;

  exist(keys: readonly string[], signal: AbortSignal): Promise<readonly boolean[]> {
    this.existCount += 1;
    return this.#answer(() => keys.map((key) => this.stored.has(key)), signal);
  }

  match(pattern: string, signal: AbortSignal): Promise<readonly string[]> {
    this.matchCount += 1;
    const expression = new RegExp(pattern);
    return this.#answer(() => [...this.stored].filter((key) => expression.test(key)), signal);
  }

  close(): void {}

  #answer<T>(answer: () => T, signal: AbortSignal): Promise<T> {
    if (this.fault !== null) return Promise.reject(this.fault);
    if (!this.hangs) return Promise.resolve(answer());
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });
  }
}

const clock = new FakeClock();
let keys: FakeKeys;
let handover: StoreHandover;
beforeEach(() => {
  keys = new FakeKeys();
  handover = new StoreHandover({
    keys,
    hashers: hashersFor(null),
    clock,
    logger: silentLogger,
    boundMs: 2_000,
  });
});

/** Lets the time pass in small steps, as what waits for answers needs several turns. */
async function pass(byMs: number): Promise<void> {
  for (let passedMs = 0; ; passedMs += 10) {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
    if (passedMs >= byMs) return;
    clock.advance(10);
  }
}

interface Waiting {
  outcome: string | null;
  tookMs: number;
  cancel(): void;
}

function begin(prompt: Prompt): Waiting {
  const startMs = clock.monotonicMs();
  const waiting: Waiting = { outcome: null, tookMs: 0, cancel: () => scheduled.cancel() };
  const scheduled = handover.wait(prompt, prompt.text, (outcome) => {
    waiting.outcome = outcome;
    waiting.tookMs = clock.monotonicMs() - startMs;
  });
  return waiting;
}

function store(...stored: readonly string[]): void {
  for (const key of stored) keys.stored.add(key);
}

/** With a first prompt behind it, whose keys told how keys are named. */
async function learn(): Promise<void> {
  for (const seed of [91, 92, 93]) {
    const prompt = new Prompt(seed);
    store(...prompt.keys);
    const waiting = begin(prompt);
    await pass(20);
    expect(waiting.outcome).toBe('found');
  }
}

describe('StoreHandover', () => {
  it('learns from the keys of the first prompt, which may come while it looks', async () => {
    const prompt = new Prompt(1);
    const waiting = begin(prompt);
    await pass(100);
    expect(waiting.outcome).toBeNull();
    store(...prompt.keys);
    await pass(200);
    expect(waiting.outcome).toBe('found');
  });

  it('is over at once where everything is there', async () => {
    await learn();
    const prompt = new Prompt(1);
    store(...prompt.keys);
    const waiting = begin(prompt);
    await pass(10);
    expect(waiting).toMatchObject({ outcome: 'found', tookMs: 0 });
  });

  it('waits until the last rank has stored the last block', async () => {
    await learn();
    const prompt = new Prompt(1);
    const waiting = begin(prompt);
    await pass(100);
    store(...prompt.keys.slice(0, -1));
    await pass(300);
    expect(waiting.outcome).toBeNull();
    store(...prompt.keys);
    await pass(50);
    expect(waiting.outcome).toBe('found');
  });

  it('does not take the last block for all of them', async () => {
    await learn();
    const prompt = new Prompt(1);
    const waiting = begin(prompt);
    store(...prompt.keys.slice(2));
    await pass(300);
    expect(waiting.outcome).toBeNull();
    store(...prompt.keys);
    await pass(50);
    expect(waiting.outcome).toBe('found');
  });

  it('waits no longer than its bound, and shortly after waits in vain', async () => {
    await learn();
    const tookMs: number[] = [];
    for (const seed of [1, 2, 3, 4]) {
      const waiting = begin(new Prompt(seed));
      await pass(2_100);
      expect(waiting.outcome).toBe(seed === 4 ? 'unknown_keys' : 'missed');
      tookMs.push(waiting.tookMs);
    }
    expect(tookMs.slice(0, 3)).toEqual([2_000, 2_000, 2_000]);
  });

  it('learns anew when keys have got other names', async () => {
    await learn();
    for (const seed of [1, 2, 3]) {
      begin(new Prompt(seed));
      await pass(2_100);
    }
    const prompt = new Prompt(4, new BlockHasher('sha256_cbor', '0'));
    store(...prompt.keys);
    const waiting = begin(prompt);
    await pass(20);
    expect(waiting.outcome).toBe('found');
  });

  it('searches for names it does not know ever more seldom', async () => {
    const foreign = new BlockHasher('sha256', 'another seed');
    for (let seed = 0; seed < 30; seed += 1) {
      const prompt = new Prompt(seed, foreign);
      store(...prompt.keys);
      const waiting = begin(prompt);
      await pass(2_100);
      expect(waiting.outcome).toBe('unknown_keys');
    }
    expect(keys.existCount).toBe(0);
    expect(keys.matchCount).toBeLessThan(60);
  });

  it('knows later of ranks that were late at first', async () => {
    const first = new Prompt(1);
    store(...first.keys.filter((key) => key.startsWith(ranks[0] as string)));
    begin(first);
    await pass(20);
    store(...first.keys);
    const second = new Prompt(2);
    store(...second.keys);
    begin(second);
    await pass(20);
    const third = new Prompt(3);
    const waiting = begin(third);
    store(...third.keys.filter((key) => key.startsWith(ranks[0] as string)));
    await pass(100);
    expect(waiting.outcome).toBeNull();
    store(...third.keys);
    await pass(50);
    expect(waiting.outcome).toBe('found');
  });

  it('is over at once without a master, and asks again after a second', async () => {
    await learn();
    keys.fault = new Fault('PEER_UNREACHABLE', 'nobody listens');
    const waiting = begin(new Prompt(1));
    await pass(10);
    expect(waiting).toMatchObject({ outcome: 'no_master', tookMs: 0 });
    const askedCount = keys.existCount;
    begin(new Prompt(2));
    await pass(10);
    expect(keys.existCount).toBe(askedCount);
    keys.fault = null;
    await pass(1_000);
    const prompt = new Prompt(3);
    store(...prompt.keys);
    const later = begin(prompt);
    await pass(10);
    expect(later.outcome).toBe('found');
  });

  it('is over soon after the bound where the master does not answer', async () => {
    await learn();
    keys.hangs = true;
    const waiting = begin(new Prompt(1));
    await pass(2_300);
    expect(waiting.outcome).toBe('no_master');
    expect(waiting.tookMs).toBeLessThan(2_300);
  });

  it('leaves nothing behind when it is cancelled', async () => {
    await learn();
    const timerCount = clock.waitingCount;
    const waiting = begin(new Prompt(1));
    await pass(100);
    waiting.cancel();
    const askedCount = keys.existCount;
    await pass(3_000);
    expect(waiting.outcome).toBeNull();
    expect(keys.existCount).toBe(askedCount);
    expect(clock.waitingCount).toBe(timerCount);
  });

  describe('looks before anybody is chosen', () => {
    /** Undefined: there was nothing to ask. */
    async function look(text: readonly number[]): Promise<number | null | undefined> {
      let found: number | null = null;
      const looking = handover.look(text, (blockCount) => {
        found = blockCount;
      });
      if (looking === null) return undefined;
      await pass(30);
      return found;
    }

    async function stored(prompt: Prompt): Promise<void> {
      await learn();
      store(...prompt.keys);
      begin(prompt);
      await pass(10);
    }

    it('and knows how much of an earlier prompt is there still', async () => {
      const prompt = new Prompt(1);
      await stored(prompt);
      expect(await look(prompt.text)).toBe(6);
      expect(await look([...prompt.text, 7, 8])).toBe(6);
      expect(await look([...prompt.text.slice(0, 4), 7, 8])).toBe(4);
      keys.stored.delete(prompt.keys[3] as string);
      expect(await look(prompt.text)).toBe(4);
      keys.stored.delete(prompt.keys[0] as string);
      expect(await look(prompt.text)).toBe(0);
    });

    it('and knows the chunks of our own instances by the keys that they told', async () => {
      handover.learnChunks([1, 2, 3, 4, 5], ['a', 'b', 'c']);
      handover.learnChunks([1, 2, 3, 4, 5], []);
      store('a', 'b');
      expect(await look([1, 2, 3, 4, 5])).toBe(5);
      expect(await look([1, 2, 3, 9, 9])).toBe(3);
      keys.stored.delete('b');
      expect(await look([1, 2, 3, 4, 5])).toBe(3);
      keys.stored.delete('a');
      expect(await look([1, 2, 3, 4, 5])).toBe(0);
    });

    it('and asks nothing about a text that it does not know', async () => {
      await stored(new Prompt(1));
      const askedCount = keys.existCount;
      expect(await look([1, 2, 3])).toBeUndefined();
      expect(keys.existCount).toBe(askedCount);
    });

    it('for no longer than 20 ms, and then not for a second', async () => {
      const prompt = new Prompt(1);
      await stored(prompt);
      keys.hangs = true;
      expect(await look(prompt.text)).toBe(0);
      expect(await look(prompt.text)).toBeUndefined();
      keys.hangs = false;
      await pass(1_000);
      expect(await look(prompt.text)).toBe(6);
    });

    it('and leaves nothing behind when it is cancelled', async () => {
      const prompt = new Prompt(1);
      await stored(prompt);
      const timerCount = clock.waitingCount;
      keys.hangs = true;
      let found = false;
      handover
        .look(prompt.text, () => {
          found = true;
        })
        ?.cancel();
      await pass(100);
      expect([found, clock.waitingCount]).toEqual([false, timerCount]);
    });
  });

  it('ends the waits when it stops', async () => {
    await learn();
    const waiting = begin(new Prompt(1));
    await pass(50);
    await handover.stop();
    await pass(3_000);
    expect(waiting.outcome).toBeNull();
    expect(clock.waitingCount).toBe(0);
  });
});
