import { describe, expect, it } from 'vitest';
import {
  Cancelling,
  deadline,
  every,
  formatByteSize,
  orAborted,
  parseAddress,
  parseByteSize,
  SeededRandom,
  sleep,
  TurnClock,
} from '../src/index.ts';
import { FakeClock } from '../src/testing.ts';

describe('TurnClock', () => {
  it('stands still within a turn and follows the clock in the next', async () => {
    const clock = new FakeClock();
    const turn = new TurnClock(clock);
    const first = turn.monotonicMs();
    clock.advance(5);
    expect(turn.monotonicMs()).toBe(first);
    await Promise.resolve();
    expect(turn.monotonicMs()).toBe(first + 5);
  });
});

describe('Cancelling', () => {
  it('tells those who still listen, once, with the first reason', () => {
    const cancelling = new Cancelling();
    const told: string[] = [];
    const left = () => told.push('left');
    cancelling.addEventListener('abort', () => told.push('first'));
    cancelling.addEventListener('abort', left);
    cancelling.addEventListener('abort', () => told.push('second'));
    cancelling.removeEventListener('abort', left);
    cancelling.throwIfAborted();
    const reason = new Error('enough');
    cancelling.abort(reason);
    cancelling.abort(new Error('once more'));
    cancelling.addEventListener('abort', () => told.push('too late'));
    expect(told).toEqual(['first', 'second']);
    expect(() => cancelling.throwIfAborted()).toThrow(reason);
  });

  it('ends what waits for it', async () => {
    const clock = new FakeClock();
    const cancelling = new Cancelling();
    const sleeping = sleep(clock, 1_000, cancelling);
    const limit = deadline(clock, 1_000, 'x', cancelling);
    const waiting = orAborted(new Promise(() => {}), cancelling);
    cancelling.abort(new Error('enough'));
    await sleeping;
    await expect(waiting).rejects.toThrow('enough');
    expect(limit.signal.reason).toEqual(new Error('enough'));
  });
});

describe('deadline', () => {
  it('fires with a fault that names what took too long', () => {
    const clock = new FakeClock();
    const limit = deadline(clock, 100, 'connecting');
    clock.advance(99);
    expect(limit.signal.aborted).toBe(false);
    clock.advance(1);
    expect(limit.signal.reason).toMatchObject({
      code: 'DEADLINE_PASSED',
      message: 'connecting took longer than 100 ms',
    });
  });

  it('follows its parent and leaves no timer once released', () => {
    const clock = new FakeClock();
    const parent = new AbortController();
    const limit = deadline(clock, 100, 'x', parent.signal);
    parent.abort(new Error('client left'));
    expect(limit.signal.reason).toEqual(new Error('client left'));
    limit.release();
    expect(clock.waitingCount).toBe(0);
  });
});

describe('orAborted', () => {
  it('stops waiting for work that never ends', async () => {
    const abort = new AbortController();
    const waiting = orAborted(new Promise(() => {}), abort.signal);
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});

describe('sleep and every', () => {
  it('wakes early when aborted, without an error', async () => {
    const clock = new FakeClock();
    const abort = new AbortController();
    const sleeping = sleep(clock, 1_000, abort.signal);
    abort.abort();
    await sleeping;
    expect(clock.waitingCount).toBe(0);
  });

  it('repeats until cancelled', async () => {
    const clock = new FakeClock();
    let count = 0;
    const repeated = every(clock, 10, () => {
      count += 1;
    });
    for (let round = 0; round < 3; round++) {
      clock.advance(10);
      await Promise.resolve();
    }
    repeated.cancel();
    clock.advance(100);
    expect(count).toBe(3);
    expect(clock.waitingCount).toBe(0);
  });
});

describe('sizes, addresses and chance', () => {
  it('reads sizes as Mooncake configuration writes them', () => {
    expect(['4gb', '512 MB', '1.5k', '17', 17].map(parseByteSize)).toEqual([
      2 ** 32,
      2 ** 29,
      1_536,
      17,
      17,
    ]);
    expect(['', 'gb', '-1', '1 parsec', '1e9'].map(parseByteSize)).toEqual([
      null,
      null,
      null,
      null,
      null,
    ]);
    expect(formatByteSize(2 ** 28)).toBe('256 MiB');
  });

  it('reads host:port of every kind and refuses the rest', () => {
    expect(parseAddress('localhost:8100', 'x')).toEqual({ host: 'localhost', port: 8100 });
    expect(parseAddress('[::1]:80', 'x')).toEqual({ host: '::1', port: 80 });
    for (const wrong of ['localhost', ':80', 'a:b:1', 'h:0', 'h:65536', 'h:x']) {
      expect(() => parseAddress(wrong, '--prefill')).toThrow(/--prefill/);
    }
  });

  it('repeats itself for the same seed and spreads evenly', () => {
    const draws = (seed: number) => {
      const random = new SeededRandom(seed);
      return Array.from({ length: 4_096 }, () => random.uint32());
    };
    expect(draws(7)).toEqual(draws(7));
    expect(draws(7)).not.toEqual(draws(8));
    const upper = draws(7).filter((draw) => draw >= 2 ** 31).length;
    expect(Math.abs(upper - 2_048)).toBeLessThan(200);
  });
});
