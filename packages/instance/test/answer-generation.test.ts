import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import type { EngineStats, GenerationEvent } from '@tsukimi/engine';
import { parseCompletionRequest } from '@tsukimi/openai-api';
import { afterEach, describe, expect, it } from 'vitest';
import { answerGeneration } from '../src/answer-generation.ts';
import { InstanceMetrics } from '../src/instance-metrics.ts';

const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Both ends of a connection whose client has asked and reads nothing. */
async function silentClient(): Promise<{ response: ServerResponse; socket: Socket }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const asked = new Promise<ServerResponse>((resolve) => {
    server.once('request', (_, response) => resolve(response));
  });
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  open.push(server, { close: () => socket.destroy() });
  socket.on('error', () => {});
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  return { response: await asked, socket };
}

const noStats = (): EngineStats => {
  throw new Error('nobody asks for numbers here');
};

function answer(
  response: ServerResponse,
  clock: FakeClock,
  events: AsyncIterable<GenerationEvent>,
) {
  return answerGeneration({
    head: { id: 'cmpl-1', kind: 'completion', created: 1, model: 'm', systemFingerprint: 'fp' },
    request: parseCompletionRequest({ model: 'm', prompt: 'x', stream: true }),
    promptTokens: Int32Array.of(1),
    chunkKeys: null,
    events,
    response,
    signal: new AbortController().signal,
    clock,
    metrics: new InstanceMetrics({
      modelName: 'm',
      engineStats: noStats,
      connectorCounters: () => {
        throw new Error('nobody asks for numbers here');
      },
      storeReachable: () => null,
    }),
  });
}

describe('answerGeneration', () => {
  it('takes no more events than the client reads, and gives a silent one up in the end', async () => {
    const { response, socket } = await silentClient();
    const clock = new FakeClock();
    let taken = 0;
    let left = false;
    async function* endless(): AsyncIterable<GenerationEvent> {
      try {
        for (;;) {
          taken += 1;
          await Promise.resolve();
          yield { tokens: [7], text: 'x'.repeat(65_536) };
        }
      } finally {
        left = true;
      }
    }
    const answered = answer(response, clock, endless());
    await eventually(() => clock.waitingCount === 1 && response.writableNeedDrain, 'a full socket');
    // The kernel's buffers may still take some; after that it stands still.
    const takenWhenFull = await settled(() => taken);
    expect(takenWhenFull).toBeLessThan(1_000);
    expect(left).toBe(false);
    clock.advance(30_000);
    await answered;
    expect(left).toBe(true);
    await eventually(() => response.destroyed, 'the connection to be cut');
    expect(socket.readableFlowing).toBe(false);
  });

  it('ends a stream that breaks with an event that says so, and no [DONE]', async () => {
    const { response, socket } = await silentClient();
    let received = '';
    socket.on('data', (bytes) => {
      received += bytes.toString('utf8');
    });
    socket.resume();
    async function* breaking(): AsyncIterable<GenerationEvent> {
      yield await Promise.resolve({ tokens: [7], text: 'one' });
      throw new Error('secret');
    }
    await answer(response, new FakeClock(), breaking());
    await eventually(() => received.includes('"error":'), 'the error to arrive');
    expect(received).toContain('"text":"one"');
    expect(received).not.toMatch(/\[DONE\]|secret/);
  });

  it('rejects as long as nothing is sent, so that the status can tell', async () => {
    const { response } = await silentClient();
    async function* failing(): AsyncIterable<GenerationEvent> {
      await Promise.resolve();
      yield* [];
      throw new Error('early');
    }
    await expect(answer(response, new FakeClock(), failing())).rejects.toThrow('early');
    expect(response.headersSent).toBe(false);
  });
});

/** The number once it has not changed for some turns of the event loop. */
async function settled(read: () => number): Promise<number> {
  let last = read();
  let turns = 0;
  await eventually(async () => {
    await new Promise((resolve) => setImmediate(resolve));
    turns = read() === last ? turns + 1 : 0;
    last = read();
    return turns > 5;
  }, 'the number to stand still');
  return last;
}
