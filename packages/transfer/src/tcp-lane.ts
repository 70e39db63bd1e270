import { connect, type Socket } from 'node:net';
import { type Address, type Clock, Fault, formatAddress, type Scheduled } from '@tsukimi/base';
import { type DataRequest, formatRequest } from './data-protocol.ts';
import { ReplyReader } from './reply-reader.ts';

export interface LaneOptions {
  readonly address: Address;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** May be the same for all lanes: its bytes are copied on before the next read. */
  readonly receiveBuffer: Buffer;
}

interface Job {
  readonly request: DataRequest;
  readonly reply: ReplyReader;
  /** Whether all bytes of the request left the caller's buffer. */
  sent: boolean;
  readonly settle: (fault: unknown) => void;
}

const nothing = Buffer.alloc(0);
/** Why a lane died that its peer closed as the protocol has it. */
const inOrder = Symbol('closed in order');

/** One data connection to a peer that carries one request at a time. */
export class TcpLane {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #socket: Socket;
  #job: Job | null = null;
  #onConnected: ((fault: Fault | null) => void) | null = null;
  #idleLimit: Scheduled | null = null;
  #isUsed = false;
  #isClosed = false;

  /** Rejects with `PEER_UNREACHABLE`, or with the reason of `signal`. */
  static async open(options: LaneOptions, signal: AbortSignal): Promise<TcpLane> {
    signal.throwIfAborted();
    const lane = new TcpLane(options);
    await lane.#connected(options.connectTimeoutMs, signal);
    return lane;
  }

  private constructor({ address, clock, receiveBuffer }: LaneOptions) {
    this.#clock = clock;
    this.#name = formatAddress(address);
    this.#socket = connect({
      host: address.host,
      port: address.port,
      noDelay: true,
      onread: {
        buffer: receiveBuffer,
        callback: (byteCount) => {
          this.#receive(receiveBuffer.subarray(0, byteCount));
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => this.#died(error));
    this.#socket.on('end', () => this.#died(inOrder));
    this.#socket.on('close', () => this.#died(null));
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether a request went over it before: then the peer may have closed it unnoticed. */
  get isUsed(): boolean {
    return this.#isUsed;
  }

  close(): void {
    this.#died(null);
  }

  /** Unless it is used again before. */
  closeAfterIdle(limitMs: number): void {
    this.#idleLimit?.cancel();
    this.#idleLimit = this.#clock.schedule(limitMs, () => this.close());
  }

  /**
   * Sends `bytes` with a write, fills them with the answer of a read. After a rejection and after any
   * failure the lane is closed. `bytes` are not touched once this has settled.
   */
  transfer(request: DataRequest, bytes: Buffer, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const abort = () => {
        this.#job?.settle(signal.reason);
        this.close();
      };
      signal.addEventListener('abort', abort, { once: true });
      const isRead = request.kind === 'read';
      const job: Job = {
        request,
        reply: new ReplyReader(request.version, isRead ? bytes : nothing),
        sent: false,
        settle: (fault) => {
          this.#job = null;
          signal.removeEventListener('abort', abort);
          if (fault === null) resolve();
          else reject(fault as Error);
        },
      };
      this.#job = job;
      this.#isUsed = true;
      this.#idleLimit?.cancel();
      if (this.#isClosed) return job.settle(this.#lost(null));
      const sent = () => {
        job.sent = true;
        this.#settleIfDone();
      };
      if (isRead) this.#socket.write(formatRequest(request), sent);
      else {
        this.#socket.cork();
        this.#socket.write(formatRequest(request));
        this.#socket.write(bytes, sent);
        this.#socket.uncork();
      }
      // Version 1 confirms no write; that the peer closes in order is the nearest thing to it.
      if (isUnanswered(request)) this.#socket.end();
    });
  }

  #receive(chunk: Buffer): void {
    const job = this.#job;
    if (job === null) {
      this.close();
      return;
    }
    job.reply.push(chunk);
    this.#settleIfDone();
  }

  #settleIfDone(): void {
    const job = this.#job;
    const outcome = job?.reply.outcome ?? null;
    if (job === null || outcome === null) return;
    if (outcome.kind === 'complete') {
      if (job.sent) job.settle(null);
      return;
    }
    const fault =
      outcome.kind === 'rejected'
        ? new Fault('REFUSED', `${this.#name} refused a ${job.request.kind}: not in its memory`, {
            details: { code: outcome.code },
          })
        : new Fault('MALFORMED', `${this.#name} does not follow the data protocol`);
    job.settle(fault);
    this.close();
  }

  #connected(connectTimeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (fault: unknown) => {
        this.#onConnected = null;
        limit.cancel();
        signal.removeEventListener('abort', abort);
        if (fault === null) return resolve();
        this.close();
        reject(fault as Error);
      };
      const abort = () => settle(signal.reason);
      const limit = this.#clock.schedule(connectTimeoutMs, () =>
        settle(
          new Fault('PEER_UNREACHABLE', `${this.#name}: no connection in ${connectTimeoutMs} ms`),
        ),
      );
      signal.addEventListener('abort', abort, { once: true });
      this.#onConnected = settle;
      this.#socket.once('connect', () => this.#onConnected?.(null));
    });
  }

  #died(cause: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    this.#idleLimit?.cancel();
    const fault = this.#lost(cause);
    this.#onConnected?.(fault);
    const job = this.#job;
    const isConfirmed = job !== null && job.sent && isUnanswered(job.request) && cause === inOrder;
    job?.settle(isConfirmed ? null : fault);
  }

  #lost(cause: unknown): Fault {
    return new Fault('PEER_UNREACHABLE', `${this.#name}: no connection`, { cause });
  }
}

function isUnanswered(request: DataRequest): boolean {
  return request.kind === 'write' && request.version === 1;
}
