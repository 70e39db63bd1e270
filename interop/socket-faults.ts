import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Seen } from './fault-rows.ts';
import { type Stack, seconds } from './fault-stacks.ts';

/** Connections to the master's RPC port that all send the same, and how long each was left open. */
class Strangers implements Disposable {
  readonly #sockets: Socket[] = [];
  readonly #startMs = performance.now();
  readonly closedAfterMs: number[] = [];

  constructor(port: number, count: number, bytes: () => Buffer) {
    for (let n = 0; n < count; n += 1) {
      const socket = connect(port, '127.0.0.1', () => socket.write(bytes()));
      socket.on('error', () => {});
      socket.on('close', () => this.closedAfterMs.push(performance.now() - this.#startMs));
      socket.resume();
      this.#sockets.push(socket);
    }
  }

  get openCount(): number {
    return this.#sockets.length - this.closedAfterMs.length;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

const headByteCount = 20;

/** A request's head that announces so many bytes. */
function headOf(bodyByteCount: number): Buffer {
  const head = Buffer.alloc(headByteCount);
  head.writeUInt8(21, 0);
  head.writeUInt32LE(1, 4);
  head.writeUInt32LE(0x01020304, 8);
  head.writeUInt32LE(bodyByteCount, 12);
  return head;
}

async function watch(stack: Stack, count: number, bytes: () => Buffer, forMs: number) {
  await stack.startMaster();
  const before = stack.memory();
  using strangers = new Strangers(stack.master.port, count, bytes);
  await pause(forMs);
  const during = stack.memory();
  const { openCount } = strangers;
  const closedAfterMs = Math.max(0, ...strangers.closedAfterMs);
  const client = await stack.startMember();
  const isServing = (await client.exist('k')) === 0;
  return {
    openCount,
    isServing,
    resident: during.resident,
    virtualGrowth: during.virtual - before.virtual,
    closed:
      openCount === 0
        ? `all closed within ${seconds(closedAfterMs)}`
        : `${openCount} of ${count} open`,
  };
}

export async function randomBytesArrive(stack: Stack, forMs: number): Promise<Seen> {
  const { isServing, resident, closed } = await watch(stack, 1_000, () => randomBytes(512), forMs);
  return {
    text: `${isServing ? 'survives' : 'is gone'}, ${resident} MiB resident, ${closed}`,
    misses: isServing ? [] : ['the master does not serve any more'],
  };
}

export async function headsClaimTooMuch(stack: Stack, forMs: number): Promise<Seen> {
  const result = await watch(stack, 20, () => headOf(2 ** 32 - 1), forMs);
  const { openCount, isServing, virtualGrowth, closed } = result;
  return {
    text: `${isServing ? 'survives' : 'is gone'}, ${virtualGrowth} MiB reserved, ${closed}`,
    misses: [
      ...(isServing ? [] : ['the master does not serve any more']),
      ...(openCount > 0 ? [`${openCount} connections were left open`] : []),
      ...(virtualGrowth > 1_024 ? [`${virtualGrowth} MiB were reserved`] : []),
    ],
  };
}

export async function headsStayHalf(stack: Stack, forMs: number): Promise<Seen> {
  const half = () => headOf(100).subarray(0, headByteCount / 2);
  const { openCount, isServing, closed } = await watch(stack, 500, half, forMs);
  return {
    text: `${isServing ? 'survives' : 'is gone'}, ${closed}`,
    misses: [
      ...(isServing ? [] : ['the master does not serve any more']),
      ...(openCount > 0 ? [`${openCount} connections were left open`] : []),
    ],
  };
}
