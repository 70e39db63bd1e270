import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { FakeClock } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { sendAnswer } from '../src/node/send-answer.ts';

const answer = { status: 200, type: 'text/plain', body: Buffer.alloc(64 * 2 ** 20, 'x') };

/** A client that has asked, and the response for it. */
async function asked() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  const end = () => {
    client.destroy();
    server.close();
  };
  return { client, response, end };
}

describe('an answer', () => {
  it('is cut off where its client reads nothing for half a minute', async () => {
    const { response, end } = await asked();
    const clock = new FakeClock();
    const sent = sendAnswer(response, answer, true, clock);
    // The system takes the first pieces.
    await expect.poll(() => response.writableLength > 0 && clock.waitingCount > 0).toBe(true);
    clock.advance(29_999);
    expect(response.destroyed).toBe(false);
    await expect
      .poll(() => {
        clock.advance(30_000);
        return response.destroyed;
      })
      .toBe(true);
    await sent;
    end();
  });

  it('ends with a client that leaves', async () => {
    const { client, response, end } = await asked();
    const clock = new FakeClock();
    const sent = sendAnswer(response, answer, true, clock);
    client.destroy();
    await sent;
    expect(clock.waitingCount).toBe(0);
    await sendAnswer(response, answer, true, clock);
    end();
  });

  it('comes whole, of any length', async () => {
    const { client, response, end } = await asked();
    let byteCount = 0;
    client.on('data', (chunk: Buffer) => {
      byteCount += chunk.length;
    });
    await sendAnswer(response, answer, true, new FakeClock());
    await expect.poll(() => byteCount).toBeGreaterThan(answer.body.length);
    end();
  });
});
