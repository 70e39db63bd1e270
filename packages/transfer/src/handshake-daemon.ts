import type { Socket } from 'node:net';
import type { Clock } from '@tsukimi/base';
import type { JsonValue } from '@tsukimi/metadata';
import { formatHandshake, handshakeTypes, parseHandshake } from './handshake-protocol.ts';
import type { Notification } from './notification-queue.ts';
import { TcpListener } from './tcp-listener.ts';

const receiveTimeoutMs = 5_000;
const notificationByteCountMax = 65_536;

/** What an engine with TCP alone answers to whoever wants to set up RDMA. */
const emptyConnection: JsonValue = {
  local_gid: '',
  local_lid: 0,
  local_nic_path: '',
  payload: '',
  peer_nic_path: '',
  qp_num: [],
  reply_msg: '',
};

export interface HandshakeDaemonOptions {
  readonly host: string;
  readonly port: number;
  /** This engine's descriptor, for peers that ask for it; null where a metadata server has it. */
  readonly describe: () => JsonValue | null;
  /** Whether there was room for it. */
  readonly notified: (notification: Notification) => boolean;
  readonly clock: Clock;
  readonly onDeath: (error: unknown) => void;
}

/** Answers peers that connect to an engine's handshake port. */
export class HandshakeDaemon {
  readonly #options: HandshakeDaemonOptions;
  readonly #listener: TcpListener;

  constructor(options: HandshakeDaemonOptions) {
    this.#options = options;
    this.#listener = new TcpListener({
      name: 'handshake port',
      host: options.host,
      port: options.port,
      connectionCountMax: 64,
      onDeath: options.onDeath,
      onConnection: (socket) => this.#accept(socket),
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  start(): Promise<void> {
    return this.#listener.start();
  }

  /** An exchange is a few bytes: none is worth waiting for. */
  stop(): Promise<void> {
    return this.#listener.stop(AbortSignal.abort());
  }

  #accept(socket: Socket): void {
    const limit = this.#options.clock.schedule(receiveTimeoutMs, () => socket.destroy());
    socket.once('close', () => limit.cancel());
    let received = Buffer.alloc(0);
    let isAnswered = false;
    socket.on('data', (chunk: Buffer) => {
      if (isAnswered) return;
      received = Buffer.concat([received, chunk]);
      const request = parseHandshake(received);
      if (request === 'incomplete') return;
      isAnswered = true;
      if (request === 'malformed') socket.destroy();
      else {
        const value = this.#answer(request.type ?? handshakeTypes.connection, request.value);
        socket.end(formatHandshake({ type: request.type, value }));
      }
    });
  }

  #answer(type: number, value: JsonValue): JsonValue {
    if (type === handshakeTypes.metadata) return this.#options.describe();
    if (type === handshakeTypes.probe) return { status: 'success' };
    if (type !== handshakeTypes.notify) return emptyConnection;
    const notification = notificationIn(value);
    const isTaken = notification !== null && this.#options.notified(notification);
    // An empty message is what senders take for a refusal.
    return { name: '', notify_msg: isTaken ? 'success' : '' };
  }
}

function notificationIn(value: JsonValue): Notification | null {
  const { name, notify_msg: message } = Object(value) as Record<string, unknown>;
  if (typeof name !== 'string' || typeof message !== 'string') return null;
  const byteCount = name.length + message.length;
  return byteCount > notificationByteCountMax ? null : { name, message };
}
