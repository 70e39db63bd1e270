import { connect } from 'node:net';
import { SystemClock } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { HandshakeDaemon } from '../src/handshake-daemon.ts';
import { parseHandshake } from '../src/handshake-protocol.ts';
import { NotificationQueue } from '../src/notification-queue.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const notifications = new NotificationQueue();

async function start(clock: SystemClock | FakeClock = new SystemClock()) {
  const daemon = new HandshakeDaemon({
    host: '127.0.0.1',
    port: 0,
    describe: () => null,
    notified: (notification) => notifications.offer(notification),
    clock,
    onDeath: () => {},
  });
  await daemon.start();
  cleanups.push(() => daemon.stop());
  return daemon;
}

/** Sends the bytes piece by piece and answers what came back until the end. */
async function exchange(port: number, bytes: Buffer, pieceByteCount = bytes.length) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  socket.on('error', () => {});
  for (let offset = 0; offset < bytes.length; offset += pieceByteCount) {
    socket.write(bytes.subarray(offset, offset + pieceByteCount));
  }
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks);
}

function framed(type: number | null, text: string): Buffer {
  const body = Buffer.concat([Buffer.from(type === null ? [] : [type]), Buffer.from(text)]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(body.length));
  return Buffer.concat([length, body]);
}

const emptyConnection =
  '{"local_gid":"","local_lid":0,"local_nic_path":"","payload":"","peer_nic_path":"","qp_num":[],"reply_msg":""}\n';

describe('handshake daemon', () => {
  it('gives the recorded answers', async () => {
    const { port } = await start();
    for (const [type, request, answer] of [
      [0, '{"local_nic_path":"x@y","peer_nic_path":"","qp_num":[]}\n', emptyConnection],
      [1, '{}\n', 'null\n'],
      [2, '{"name":"me","notify_msg":"hello"}\n', '{"name":"","notify_msg":"success"}\n'],
      [3, '{}', '{"status":"success"}\n'],
    ] as const) {
      expect(await exchange(port, framed(type, request), 3)).toEqual(framed(type, answer));
    }
    expect(notifications.takeAll()).toEqual([{ name: 'me', message: 'hello' }]);
    expect(await exchange(port, framed(2, '{"name":1}'))).toEqual(
      framed(2, '{"name":"","notify_msg":""}\n'),
    );
    expect(await exchange(port, framed(null, '{"payload":"old"}'))).toEqual(
      framed(null, emptyConnection),
    );
    expect(framed(3, '{"status":"success"}\n').toString('hex')).toBe(
      '1600000000000000037b22737461747573223a2273756363657373227d0a',
    );
  });

  it('closes without an answer on what it cannot read', async () => {
    const { port } = await start();
    const tooLong = Buffer.alloc(8);
    tooLong.writeBigUInt64LE(2n ** 20n + 1n);
    for (const bytes of [
      Buffer.alloc(8),
      tooLong,
      Buffer.alloc(100, 0xff),
      framed(3, '{'),
      framed(3, ''),
      framed(null, 'GET / HTTP/1.1\r\n\r\n'),
    ]) {
      expect(await exchange(port, bytes)).toEqual(Buffer.alloc(0));
    }
    expect(await exchange(port, framed(3, '{}'))).not.toEqual(Buffer.alloc(0));
  });

  it('does not wait for ever for a request', async () => {
    const clock = new FakeClock();
    const { port } = await start(clock);
    const socket = connect(port, '127.0.0.1');
    socket.resume().write(Buffer.alloc(5));
    const hasEnded = await eventually(() => {
      clock.advance(5_000);
      return socket.closed;
    }, 'the end of the connection');
    expect(hasEnded).toBe(true);
  });

  it('knows an incomplete request', () => {
    const whole = framed(3, '{}\n');
    for (let byteCount = 0; byteCount < whole.length; byteCount += 1) {
      expect(parseHandshake(whole.subarray(0, byteCount))).toBe('incomplete');
    }
  });
});
