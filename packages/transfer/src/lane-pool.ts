import { type Address, type Clock, Fault } from '@tsukimi/base';
import { type LaneJob, TcpLane } from './tcp-lane.ts';

export interface LanePoolOptions {
  /** Where the peer listens; lanes go to each in turn. */
  readonly addresses: readonly Address[];
  readonly laneCountMax: number;
  /** Requests under way on one lane. */
  readonly depth: number;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly staging: Buffer;
}

const waitingCountMax = 16_384;
const idleLimitMs = 60_000;
/** With so much under way on each of its lanes, a peer gets another one. */
const laneByteCountMax = 2 * 2 ** 20;

/** A few connections to one peer, opened when needed and kept for a minute. */
export class LanePool {
  readonly #options: LanePoolOptions;
  readonly #lanes = new Set<TcpLane>();
  readonly #waiting: LaneJob[] = [];
  /** How many lanes are open to each address; infinitely many where none could be opened. */
  readonly #laneCounts: number[];
  #isRetired = false;

  constructor(options: LanePoolOptions) {
    this.#options = options;
    this.#laneCounts = options.addresses.map(() => 0);
  }

  get isUnused(): boolean {
    return this.#lanes.size === 0 && this.#waiting.length === 0;
  }

  get laneCountMax(): number {
    return this.#options.laneCountMax;
  }

  /** `fresh` asks for a connection that was never idle. */
  start(job: LaneJob, fresh: boolean): void {
    if (fresh) this.#closeIdle();
    if (this.#waiting.length >= waitingCountMax) {
      const message = `${waitingCountMax} transfers already wait for one peer`;
      return job.settle(new Fault('OVERLOADED', message), null);
    }
    const lane = this.#waiting.length === 0 ? this.#laneFor(job) : null;
    if (lane === null) this.#waiting.push(job);
    else lane.start(job);
  }

  /** Settles the job with `reason`. */
  cancel(job: LaneJob, reason: unknown): void {
    if (job.lane !== null) return job.lane.cancel(job, reason);
    const index = this.#waiting.indexOf(job);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    job.settle(reason, null);
  }

  /** Keeps no connection any more; transfers under way may end. */
  retire(): void {
    this.#isRetired = true;
    this.#closeIdle();
  }

  /** Fails what is under way. */
  close(): void {
    this.#isRetired = true;
    const closed = new Fault('CANCELLED', 'the transfer engine is stopping');
    for (const job of this.#waiting.splice(0)) job.settle(closed, null);
    for (const lane of this.#lanes) lane.close();
  }

  #closeIdle(): void {
    for (const lane of this.#lanes) if (lane.jobCount === 0) lane.close();
  }

  /** The lane with the least under way, or a new one where that is better; null when none has room. */
  #laneFor(job: LaneJob): TcpLane | null {
    const { depth, laneCountMax } = this.#options;
    // Targets of version 1 end after a request, or may: each gets a connection of its own.
    if (job.request.version === 1) return this.#lanes.size < laneCountMax ? this.#open() : null;
    let best: TcpLane | null = null;
    for (const lane of this.#lanes) {
      if (!lane.takesMore || lane.jobCount >= depth) continue;
      if (best === null || lane.byteCount < best.byteCount) best = lane;
    }
    const isBusy =
      best === null || (best.jobCount > 0 && best.byteCount + job.bytes.length > laneByteCountMax);
    return isBusy && this.#lanes.size < laneCountMax ? this.#open() : best;
  }

  #open(): TcpLane {
    const { addresses, clock, connectTimeoutMs, staging } = this.#options;
    const index = this.#laneCounts.indexOf(Math.min(...this.#laneCounts));
    this.#laneCounts[index] = (this.#laneCounts[index] as number) + 1;
    const lane: TcpLane = new TcpLane({
      address: addresses[index] as Address,
      clock,
      connectTimeoutMs,
      idleLimitMs,
      isSpare: index > 0,
      staging,
      onChange: () => {
        if (lane.isClosed && this.#lanes.delete(lane)) {
          const isLost = index > 0 && !lane.isConnected;
          this.#laneCounts[index] = isLost
            ? Number.POSITIVE_INFINITY
            : (this.#laneCounts[index] as number) - 1;
        }
        this.#startWaiting();
        if (this.#isRetired && lane.jobCount === 0) lane.close();
      },
    });
    this.#lanes.add(lane);
    return lane;
  }

  #startWaiting(): void {
    for (;;) {
      const job = this.#waiting[0];
      const lane = job === undefined ? null : this.#laneFor(job);
      if (job === undefined || lane === null) return;
      this.#waiting.shift();
      lane.start(job);
    }
  }
}
