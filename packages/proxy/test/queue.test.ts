import { eventually, FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { startCluster } from './cluster.ts';

const asked = { model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 2 };

describe('a request that is refused while others wait', () => {
  it('is told which one it was, as in every other answer', async () => {
    const clock = new FakeClock();
    const argv = ['--in-flight-max', '1', '--queue-max', '2', '--api-key', 'sk-1', 'sk-2'];
    // Nothing but the wait for a turn runs out while the clock is moved.
    argv.push('--probe-ms', '100000', '--first-byte-ms', '100000');
    await using cluster = await startCluster({
      clock,
      argv: [...argv, '--allowed-origins', 'https://app.example'],
      prefill: [{ fate: () => ({ kind: 'hang' }) }],
    });
    const { admission } = cluster.proxy;
    const leaving = new AbortController();
    const post = (key: string, id: string, signal?: AbortSignal) =>
      cluster.post(asked, {
        headers: {
          authorization: `Bearer ${key}`,
          'x-request-id': id,
          origin: 'https://app.example',
        },
        ...(signal === undefined ? {} : { signal }),
      });
    const working = post('sk-1', 'working', leaving.signal).catch(() => null);
    await eventually(() => admission.activeCount === 1, 'the first to begin');
    const waiting = post('sk-1', 'waiting');
    await eventually(() => admission.queueLength === 1, 'the second to wait');
    const pushedOut = post('sk-1', 'pushed-out');
    await eventually(() => admission.queueLength === 2, 'the third to wait');
    const full = post('sk-1', 'full');
    const seen = [await full];
    const other = post('sk-2', 'other');
    seen.push(await pushedOut);
    clock.advance(30_000);
    seen.push(await waiting, await other);
    leaving.abort();
    await working;
    expect(
      seen.map(({ status, headers }) => [
        status,
        headers.get('x-request-id'),
        headers.get('access-control-allow-origin'),
      ]),
    ).toEqual(
      ['full', 'pushed-out', 'waiting', 'other'].map((id) => [503, id, 'https://app.example']),
    );
  });
});
