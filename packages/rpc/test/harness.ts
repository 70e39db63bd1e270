import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Clock, SystemClock, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { ErrorCode, masterProtocol } from '@tsukimi/wire';
import { afterEach } from 'vitest';
import {
  type Handlers,
  RpcClient,
  RpcServer,
  type RpcServerLimits,
  type RpcServerOptions,
} from '../src/index.ts';

const { ExistKey, ServiceReady, Ping } = masterProtocol;
export const protocol = { ExistKey, ServiceReady, Ping };
type TestProtocol = typeof protocol;

/** What a test leaves open; closed after it, newest first. */
export const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

export async function serve(
  set: Partial<Handlers<TestProtocol>> = {},
  limits: Partial<RpcServerLimits> = {},
  clock = new FakeClock(),
  told: Pick<RpcServerOptions<TestProtocol>, 'onAppendix' | 'onClose' | 'gate'> = {},
) {
  const server = new RpcServer({
    ...told,
    ...{ name: 'test', host: '127.0.0.1', port: 0, protocol, clock, limits, logger: silentLogger },
    handlers: {
      ExistKey: ([key]) => ({ ok: key.startsWith('there') }),
      ServiceReady: () => ({ ok: '2.0.0' }),
      Ping: () => ({ error: ErrorCode.CLIENT_NOT_FOUND }),
      ...set,
    },
  });
  await server.start();
  opened.push(() => server.stop(AbortSignal.abort()));
  return { server, clock, port: server.port };
}

export function dial(
  port: number,
  set: { clock?: Clock; callCountMax?: number; silenceMaxMs?: number } = {},
) {
  const client = new RpcClient({
    ...{ address: { host: '127.0.0.1', port }, protocol, clock: new SystemClock() },
    ...set,
  });
  opened.push(() => client.close());
  return client;
}

/** A server of our own making, for answers no honest server gives. */
export async function scripted(serveSocket: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer(serveSocket);
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
  opened.push(() => server.close());
  return port;
}

export async function rawSocket(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  opened.push(() => socket.destroy());
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

export const yes = { ok: true };

export function settledByHand<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

export const closed = (socket: Socket) =>
  new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    socket.resume();
  });
