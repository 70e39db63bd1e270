import { connect, type Socket } from 'node:net';
import {
  type Address,
  type Clock,
  Fault,
  formatAddress,
  onreadOf,
  type Receiver,
  type Scheduled,
} from '@tsukimi/base';
import { type DataRequest, formatRequest, isUnanswered, statusByteCount } from './data-protocol.ts';
import { ReplyReader } from './reply-reader.ts';

export interface LaneOptions {
  readonly address: Address;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly idleLimitMs: number;
  /** Whether the peer can be reached at another address, where this one cannot be connected to. */
  readonly isSpare: boolean;
  /** May be the same for all lanes: its bytes are used before the next read. */
  readonly staging: Buffer;
  /** A transfer has ended, or the lane itself. */
  readonly onChange: (lane: TcpLane) => void;
}

/** One request on its way over a lane. */
export interface LaneJob {
  readonly request: DataRequest;
  /** Sent with a write, filled by a read; the caller's own again once `settle` was called. */
  readonly bytes: Buffer;
  /** Where it is under way; kept by the lane. */
  lane: TcpLane | null;
  /**
   * Called once for each start. `mayRepeat` says that the request failed for no reason of its own: on a connection that
   * its peer had closed while it was idle (`idle`), or because another request ended it or a spare address does not answer (`other`).
   */
  settle(fault: unknown, mayRepeat: 'idle' | 'other' | null): void;
}

interface Sent {
  readonly job: LaneJob;
  readonly reply: ReplyReader;
  /** Whether all bytes of the request left the caller's buffer. */
  isSent: boolean;
}

const nothing = Buffer.alloc(0);
/** So much is still to come of an answer when it is received straight into the caller's buffer. */
const directByteCountMin = 2 ** 13;
/** Requests that leave in one system call together have no more bytes than this. */
const corkedByteCountMax = 2 ** 20;

/** One data connection to a peer. Requests are answered in the order in which they were started. */
export class TcpLane implements Receiver {
  readonly #options: LaneOptions;
  readonly #name: string;
  readonly #socket: Socket;
  readonly #statusMemory: Buffer;
  /** Whose answers are still to come, in their order. */
  readonly #unanswered: Sent[] = [];
  /** Answered, but still in the hands of the socket. */
  readonly #unsent = new Set<Sent>();
  #byteCount = 0;
  #corkedByteCount = 0;
  #connecting: Scheduled | null;
  #idleTimer: Scheduled | null = null;
  #idleSinceMs: number | null = null;
  #hasServed = false;
  #isUnheardSinceIdle = false;
  #takesMore = true;
  #isClosed = false;

  constructor(options: LaneOptions) {
    const { address, clock, connectTimeoutMs } = options;
    this.#options = options;
    this.#name = formatAddress(address);
    this.#statusMemory = options.staging.subarray(0, statusByteCount);
    this.#socket = connect({
      host: address.host,
      port: address.port,
      noDelay: true,
      onread: onreadOf(this),
    });
    this.#socket.on('error', (error) => this.#die(error, false));
    this.#socket.on('end', () => this.#die(undefined, true));
    this.#socket.on('close', () => this.#die(undefined, false));
    this.#socket.once('connect', () => {
      this.#connecting?.cancel();
      this.#connecting = null;
    });
    this.#connecting = clock.schedule(connectTimeoutMs, () =>
      this.#die(new Error(`not connected in ${connectTimeoutMs} ms`), false),
    );
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether a request may be started. */
  get takesMore(): boolean {
    return this.#takesMore && !this.#isClosed;
  }

  get jobCount(): number {
    return this.#unanswered.length + this.#unsent.size;
  }

  /** Of payload under way. */
  get byteCount(): number {
    return this.#byteCount;
  }

  get isConnected(): boolean {
    return this.#connecting === null;
  }

  /** Sends a request, also before the connection stands. After a rejection and any failure the lane is closed. */
  start(job: LaneJob): void {
    const { request, bytes } = job;
    const isRead = request.kind === 'read';
    const sent: Sent = {
      job,
      reply: new ReplyReader(request.version, isRead ? bytes : nothing),
      isSent: isRead,
    };
    if (this.jobCount === 0) {
      this.#isUnheardSinceIdle = true;
      this.#idleSinceMs = null;
    }
    job.lane = this;
    this.#unanswered.push(sent);
    this.#byteCount += bytes.length;
    this.#cork(isRead ? 0 : bytes.length);
    this.#socket.write(formatRequest(request));
    if (!isRead) this.#socket.write(bytes, () => this.#left(sent));
    if (request.version === 1) this.#takesMore = false;
    // Version 1 confirms no write; that the peer closes in order is the nearest thing to it.
    if (isUnanswered(request)) this.#socket.end();
  }

  /** Ends one request and with it the lane: its bytes may be on their way. */
  cancel(job: LaneJob, reason: unknown): void {
    this.#close(reason, job, reason);
  }

  /** Fails what is under way. */
  close(): void {
    this.#close(this.#lost(undefined), null, null);
  }

  next(): Buffer {
    const reply = this.#unanswered[0]?.reply;
    const isLong = reply !== undefined && reply.missingByteCount >= directByteCountMin;
    if (!isLong) return this.#options.staging;
    // Without the status before it, all of a long answer comes to its place by itself.
    return reply.destination ?? this.#statusMemory;
  }

  received(byteCount: number, memory: Buffer): void {
    if (this.#isClosed) return;
    this.#isUnheardSinceIdle = false;
    const first = this.#unanswered[0];
    if (first !== undefined && memory === first.reply.destination) {
      first.reply.filled(byteCount);
      this.#settleAnswered(first);
      return;
    }
    let rest = memory.subarray(0, byteCount);
    while (rest.length > 0) {
      const sent = this.#unanswered[0];
      if (sent === undefined || isUnanswered(sent.job.request)) {
        const fault = this.#malformed();
        return this.#close(fault, sent?.job ?? null, fault);
      }
      rest = rest.subarray(sent.reply.push(rest));
      this.#settleAnswered(sent);
      if (this.#isClosed) return;
    }
  }

  #settleAnswered(sent: Sent): void {
    const { outcome } = sent.reply;
    if (outcome === null) return;
    if (outcome.kind !== 'complete') {
      const { kind } = sent.job.request;
      const fault =
        outcome.kind === 'rejected'
          ? new Fault('REFUSED', `${this.#name} refused a ${kind}: not in its memory`, {
              details: { code: outcome.code },
            })
          : this.#malformed();
      return this.#close(this.#lost(undefined), sent.job, fault);
    }
    this.#hasServed = true;
    this.#unanswered.shift();
    if (sent.isSent) this.#complete(sent);
    else this.#unsent.add(sent);
  }

  #left(sent: Sent): void {
    sent.isSent = true;
    if (this.#unsent.delete(sent)) this.#complete(sent);
  }

  #complete(sent: Sent): void {
    this.#byteCount -= sent.job.bytes.length;
    if (this.jobCount === 0) this.#rest();
    sent.job.lane = null;
    sent.job.settle(null, null);
    if (this.#takesMore) this.#options.onChange(this);
    else this.close();
  }

  /** Requests that are started in one turn leave together. */
  #cork(byteCount: number): void {
    if (this.#corkedByteCount === 0) {
      this.#socket.cork();
      process.nextTick(() => {
        this.#corkedByteCount = 0;
        this.#socket.uncork();
      });
    } else if (this.#corkedByteCount + byteCount > corkedByteCountMax) {
      this.#socket.uncork();
      this.#socket.cork();
      this.#corkedByteCount = 0;
    }
    this.#corkedByteCount += byteCount + 1;
  }

  /** A lane closes some time after its last request. One timer lasts for many of them. */
  #rest(): void {
    const { clock, idleLimitMs } = this.#options;
    this.#idleSinceMs = clock.monotonicMs();
    this.#idleTimer ??= clock.schedule(idleLimitMs, () => this.#closeIfIdle());
  }

  #closeIfIdle(): void {
    const { clock, idleLimitMs } = this.#options;
    this.#idleTimer = null;
    if (this.#idleSinceMs === null) return;
    const leftMs = this.#idleSinceMs + idleLimitMs - clock.monotonicMs();
    if (leftMs <= 0) this.close();
    else this.#idleTimer = clock.schedule(leftMs, () => this.#closeIfIdle());
  }

  /** The connection ended by itself; `inOrder` as the protocol has it. */
  #die(cause: unknown, inOrder: boolean): void {
    const first = this.#unanswered[0];
    const isConfirmed =
      inOrder && first !== undefined && first.isSent && isUnanswered(first.job.request);
    this.#close(this.#lost(cause), isConfirmed ? first.job : null, null);
  }

  /** `chosen` ends with `fault`, all others with `reason`. */
  #close(reason: unknown, chosen: LaneJob | null, fault: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    this.#connecting?.cancel();
    this.#idleTimer?.cancel();
    const wasIdle = this.#hasServed && this.#isUnheardSinceIdle;
    const isElsewhere = this.#options.isSpare && !this.isConnected;
    const mayRepeat = chosen !== null || isElsewhere ? 'other' : wasIdle ? 'idle' : null;
    const ended = [...this.#unsent, ...this.#unanswered.splice(0)];
    this.#unsent.clear();
    this.#byteCount = 0;
    this.#options.onChange(this);
    for (const { job } of ended) {
      job.lane = null;
      if (job === chosen) job.settle(fault, null);
      else job.settle(reason, mayRepeat);
    }
  }

  #lost(cause: unknown): Fault {
    return new Fault('PEER_UNREACHABLE', `${this.#name}: no connection`, { cause });
  }

  #malformed(): Fault {
    return new Fault('MALFORMED', `${this.#name} does not follow the data protocol`);
  }
}
