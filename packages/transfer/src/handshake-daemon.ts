import type { Socket } from 'node:net';
import { type Clock, Fault } from '@tsukimi/base';
import { type JsonValue, parseJson, sortedJson } from '@tsukimi/metadata';
import { TcpListener } from './tcp-listener.ts';

/**
 * Mooncake's handshake daemon as an engine with TCP alone answers it: u64 length, type byte, JSON;
 * one exchange a connection. Peers on TCP need it only to see that an engine is there. Source:
 * `include/common.h` and `transfer_metadata_plugin.cpp` of the transfer engine.
 */
const lengthByteCount = 8;
const payloadByteCountMax = 2 ** 20;
const receiveTimeoutMs = 5_000;
/** Types are 0 to 3; any other first byte belongs to the old framing, which has no type. */
const typeMax = 3;

const emptyConnection: JsonValue = {
  local_gid: '',
  local_lid: 0,
  local_nic_path: '',
  payload: '',
  peer_nic_path: '',
  qp_num: [],
  reply_msg: '',
};

/** By type: connection, metadata (only engines without a metadata server have one), notify, probe. */
const answers: readonly JsonValue[] = [
  emptyConnection,
  null,
  { name: '', notify_msg: 'success' },
  { status: 'success' },
];

export interface HandshakeDaemonOptions {
  readonly host: string;
  readonly port: number;
  readonly clock: Clock;
  readonly onDeath: (error: unknown) => void;
}

export class HandshakeDaemon {
  readonly #clock: Clock;
  readonly #listener: TcpListener;

  constructor(options: HandshakeDaemonOptions) {
    this.#clock = options.clock;
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
    const limit = this.#clock.schedule(receiveTimeoutMs, () => socket.destroy());
    socket.once('close', () => limit.cancel());
    let received = Buffer.alloc(0);
    let isAnswered = false;
    socket.on('data', (chunk: Buffer) => {
      if (isAnswered) return;
      received = Buffer.concat([received, chunk]);
      const answer = answerTo(received);
      if (answer === 'incomplete') return;
      isAnswered = true;
      if (answer === 'malformed') socket.destroy();
      else socket.end(answer);
    });
  }
}

/** The answer to the bytes received so far. */
export function answerTo(received: Buffer): Buffer | 'incomplete' | 'malformed' {
  if (received.length < lengthByteCount) return 'incomplete';
  const byteCount = received.readBigUInt64LE();
  if (byteCount === 0n || byteCount > payloadByteCountMax) return 'malformed';
  const payload = received.subarray(lengthByteCount, lengthByteCount + Number(byteCount));
  if (payload.length < Number(byteCount)) return 'incomplete';
  const first = payload.readUInt8();
  const isTyped = first <= typeMax;
  try {
    parseJson(payload.subarray(isTyped ? 1 : 0).toString('utf8'), 'handshake');
  } catch (error) {
    if (Fault.has(error, 'MALFORMED')) return 'malformed';
    throw error;
  }
  const type = isTyped ? first : 0;
  const text = Buffer.from(`${sortedJson(answers[type] ?? null)}\n`);
  const body = isTyped ? Buffer.concat([Buffer.from([type]), text]) : text;
  const length = Buffer.alloc(lengthByteCount);
  length.writeBigUInt64LE(BigInt(body.length));
  return Buffer.concat([length, body]);
}
