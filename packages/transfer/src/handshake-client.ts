import { connect } from 'node:net';
import { type Address, type Clock, Fault, formatAddress } from '@tsukimi/base';
import type { JsonValue } from '@tsukimi/metadata';
import { formatHandshake, type HandshakeType, parseHandshake } from './handshake-protocol.ts';

export interface HandshakeOptions {
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly signal: AbortSignal;
}

/**
 * One exchange with the handshake daemon of a peer. Answers what it says; rejects with
 * `PEER_UNREACHABLE`, `MALFORMED`, or the reason of `signal`.
 */
export function shakeHands(
  address: Address,
  type: HandshakeType,
  value: JsonValue,
  { clock, connectTimeoutMs, signal }: HandshakeOptions,
): Promise<JsonValue> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    const name = formatAddress(address);
    const socket = connect({ host: address.host, port: address.port, noDelay: true });
    const settle = () => {
      limit.cancel();
      signal.removeEventListener('abort', abort);
      socket.destroy();
    };
    const fail = (reason: unknown) => {
      settle();
      reject(reason as Error);
    };
    const lost = (why: string, cause?: unknown) =>
      fail(new Fault('PEER_UNREACHABLE', `${name}: ${why} on its handshake port`, { cause }));
    const abort = () => fail(signal.reason);
    const limit = clock.schedule(connectTimeoutMs, () =>
      lost(`no connection in ${connectTimeoutMs} ms`),
    );
    signal.addEventListener('abort', abort, { once: true });
    socket.once('connect', () => {
      limit.cancel();
      socket.write(formatHandshake({ type, value }));
    });
    let received = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const answer = parseHandshake(received);
      if (answer === 'incomplete') return;
      if (answer === 'malformed' || answer.type !== type) {
        return fail(new Fault('MALFORMED', `${name}: does not speak the handshake protocol`));
      }
      settle();
      resolve(answer.value);
    });
    socket.on('error', (error) => lost('no answer', error));
    socket.once('close', () => lost('no answer'));
  });
}
