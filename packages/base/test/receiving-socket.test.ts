import { once } from 'node:events';
import { connect, createServer, Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { receiveInto } from '../src/receiving-socket.ts';

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** Gives out its pieces one after the other and tells what came into which. */
function receiverOf(pieces: readonly Buffer[]) {
  const arrivals: string[] = [];
  let nextIndex = 0;
  return {
    arrivals,
    next: () => pieces[Math.min(nextIndex++, pieces.length - 1)] as Buffer,
    received: (byteCount: number, memory: Buffer) => {
      const index = pieces.indexOf(memory);
      arrivals.push(`${index}: ${memory.subarray(0, byteCount).toString()}`);
    },
  };
}

describe('a receiving socket', () => {
  it('fills the memory that it is given before each read, and lets its server end', async () => {
    const receiver = receiverOf([Buffer.alloc(3), Buffer.alloc(2), Buffer.alloc(10)]);
    const server = createServer({ pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address() as { port: number };
    const client = connect(address.port, '127.0.0.1');
    sockets.push(client);
    const [accepted] = (await once(server, 'connection')) as [Socket];
    const received = receiveInto(accepted, receiver);
    received.write('welcome');
    expect(String((await once(client, 'data'))[0])).toBe('welcome');
    client.end('abcdefgh');
    await once(received, 'close');
    expect(receiver.arrivals).toEqual(['0: abc', '1: de', '2: fgh']);
    server.close();
    await once(server, 'close');
    expect(accepted.destroyed).toBe(true);
  });

  it('is the socket itself where there is no handle to take over', async () => {
    const receiver = receiverOf([Buffer.alloc(3)]);
    const accepted = new Socket();
    sockets.push(accepted);
    expect(receiveInto(accepted, receiver)).toBe(accepted);
    accepted.push(Buffer.from('abc'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(receiver.arrivals).toEqual(['-1: abc']);
  });
});
