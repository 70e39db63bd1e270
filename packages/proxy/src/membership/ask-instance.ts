import { type Clock, Fault, type Scheduled } from '@tsukimi/base';
import type { FailureReason, PoolInstance } from '../core/pool-instance.ts';
import type { Upstream } from '../upstream.ts';

export interface Question {
  readonly path: string;
  /** JSON to be posted; null for a GET. */
  readonly body: string | null;
  /** `Bearer …`; null for none. */
  readonly authorization: string | null;
  readonly withinMs: number;
  /** Called when that has passed: how much longer to wait; 0 or less: no longer. */
  readonly longerMs?: () => number;
}

export interface InstanceAnswer {
  readonly status: number;
  readonly body: string;
}

const answerByteCountMax = 2 ** 20;

/**
 * Asks an instance something of the proxy's own, and takes its whole answer, whatever the status. Rejects with
 * `PEER_UNREACHABLE`, whose detail `reason` is a `FailureReason`.
 */
export function askInstance(
  { upstream, clock }: { readonly upstream: Upstream; readonly clock: Clock },
  instance: Pick<PoolInstance, 'origin'>,
  { path, body, authorization, withinMs, longerMs = () => 0 }: Question,
): Promise<InstanceAnswer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let byteCount = 0;
    let answerStatus = 0;
    const expire = () => {
      const moreMs = longerMs();
      if (moreMs > 0) expiry = clock.schedule(moreMs, expire);
      else fail(`does not answer ${path} within ${withinMs} ms`, 'timeout');
    };
    let expiry: Scheduled | null = null;
    const fail = (message: string, reason: FailureReason) => {
      expiry?.cancel();
      call.abort();
      reject(unusable(message, reason));
    };
    const headers = authorization === null ? [] : ['authorization', authorization];
    if (body !== null) headers.push('content-type', 'application/json');
    const call = upstream.send(
      instance,
      {
        ...{ path, headers, method: body === null ? 'GET' : 'POST' },
        body: body === null ? null : Buffer.from(body),
      },
      {
        onHead: (status) => {
          answerStatus = status;
        },
        onData: (bytes) => {
          byteCount += bytes.length;
          if (byteCount > answerByteCountMax)
            fail(`${path} answers with too many bytes`, 'malformed');
          else pieces.push(bytes);
        },
        onEnd: () => {
          expiry?.cancel();
          resolve({ status: answerStatus, body: Buffer.concat(pieces).toString('utf8') });
        },
        onFailure: (reason, message) => {
          expiry?.cancel();
          reject(unusable(message, reason));
        },
      },
    );
    expiry = clock.schedule(withinMs, expire);
  });
}

/** What keeps an instance from being used. */
export function unusable(message: string, reason: FailureReason = 'malformed'): Fault {
  return new Fault('PEER_UNREACHABLE', message, { details: { reason } });
}
