import { Fault } from '@tsukimi/base';
import { type LaneOptions, TcpLane } from './tcp-lane.ts';

const waitingCountMax = 4_096;
const idleLimitMs = 60_000;

/** Up to `laneCountMax` connections to one peer, opened when needed and kept for a minute. */
export class LanePool {
  readonly #options: LaneOptions;
  readonly #laneCountMax: number;
  #idle: TcpLane[] = [];
  readonly #lanes = new Set<TcpLane>();
  /** Lanes open, being opened and handed over. */
  #takenCount = 0;
  #waiting: (() => void)[] = [];
  #isClosed = false;

  constructor(options: LaneOptions, laneCountMax: number) {
    this.#options = options;
    this.#laneCountMax = laneCountMax;
  }

  get isUnused(): boolean {
    return this.#takenCount === 0 && this.#idle.every((lane) => lane.isClosed);
  }

  /** Lends a lane to `use`; waits for one while all are lent. `fresh` asks for a new connection. */
  async lend(
    signal: AbortSignal,
    use: (lane: TcpLane) => Promise<void>,
    fresh = false,
  ): Promise<void> {
    await this.#turn(signal);
    try {
      const lane = await this.#take(signal, fresh);
      await use(lane);
      this.#giveBack(lane);
    } finally {
      this.#takenCount -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Keeps no connection any more; transfers under way may end. */
  retire(): void {
    this.#isClosed = true;
    for (const lane of this.#idle.splice(0)) lane.close();
  }

  /** Fails what is under way. */
  close(): void {
    this.retire();
    for (const lane of this.#lanes) lane.close();
  }

  async #take(signal: AbortSignal, fresh: boolean): Promise<TcpLane> {
    if (fresh) {
      for (const lane of this.#idle.splice(0)) lane.close();
    }
    for (;;) {
      const lane = this.#idle.pop();
      if (lane === undefined) break;
      if (!lane.isClosed) return lane;
    }
    const lane = await TcpLane.open(this.#options, signal);
    for (const other of this.#lanes) if (other.isClosed) this.#lanes.delete(other);
    this.#lanes.add(lane);
    return lane;
  }

  #giveBack(lane: TcpLane): void {
    if (lane.isClosed) return;
    if (this.#isClosed) return lane.close();
    this.#idle.push(lane);
    lane.closeAfterIdle(idleLimitMs);
  }

  /** Resolves when fewer than all lanes are lent. Throws `OVERLOADED` when too many wait. */
  async #turn(signal: AbortSignal): Promise<void> {
    if (this.#takenCount < this.#laneCountMax) {
      this.#takenCount += 1;
      return;
    }
    if (this.#waiting.length >= waitingCountMax) {
      throw new Fault('OVERLOADED', `${waitingCountMax} transfers already wait for one peer`);
    }
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        this.#waiting = this.#waiting.filter((other) => other !== enter);
        reject(signal.reason as Error);
      };
      const enter = () => {
        signal.removeEventListener('abort', leave);
        this.#takenCount += 1;
        resolve();
      };
      if (signal.aborted) return leave();
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.push(enter);
    });
  }
}
