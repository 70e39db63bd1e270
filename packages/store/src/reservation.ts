import type { CancelSignal } from '@tsukimi/base';
import { ErrorCode, type Expected } from '@tsukimi/wire';
import type { Gate } from './gate.ts';
import type { ReplicaWriter } from './replica-writer.ts';
import type { CallOptions, MemoryReplica, Outcome } from './stored-object.ts';
import type { WriteCalls } from './write-calls.ts';

export interface ReservationOptions {
  readonly key: string;
  readonly byteCount: number;
  readonly replicas: readonly MemoryReplica[];
  readonly calls: WriteCalls;
  readonly replicaWriter: ReplicaWriter;
  readonly gate: Gate;
  readonly transferMs: number;
  /** Told once, when the key is free for other writes of this client. */
  readonly onSettled: () => void;
}

/**
 * Room for one object, which its owner fills part by part and then ends, or gives up. One that is
 * neither ended nor revoked is taken back by the master after `--put_start_discard_timeout_sec`.
 */
export class Reservation {
  readonly key: string;
  readonly byteCount: number;
  readonly #options: ReservationOptions;
  readonly #writing = new Set<Promise<unknown>>();
  #isOpen = true;

  constructor(options: ReservationOptions) {
    this.key = options.key;
    this.byteCount = options.byteCount;
    this.#options = options;
  }

  /** Writes bytes at a place of the object, on all its replicas. `TRANSFER_FAIL` when one did not take them. */
  async write(
    offset: number,
    bytes: Buffer,
    options: CallOptions = {},
  ): Promise<Outcome<undefined>> {
    const isInside = Number.isSafeInteger(offset) && offset >= 0;
    if (!this.#isOpen || !isInside || offset + bytes.length > this.byteCount) {
      return { error: ErrorCode.INVALID_PARAMS };
    }
    const { gate, replicas, replicaWriter, transferMs } = this.#options;
    const writing = gate.one<undefined>('put', transferMs, options, async (signal) => {
      if (await replicaWriter.send(replicas, offset, [bytes], signal)) return { ok: undefined };
      return { error: signal.aborted ? ErrorCode.RPC_TIMEOUT : ErrorCode.TRANSFER_FAIL };
    });
    this.#writing.add(writing);
    try {
      return await writing;
    } finally {
      this.#writing.delete(writing);
    }
  }

  /** Makes the object readable, once all writes have settled. After an error it may be tried again. */
  end(options: CallOptions = {}): Promise<Outcome<undefined>> {
    return this.#settle(options, (signal) =>
      this.#options.calls.end('put', [{ key: this.key, objectChecksum: null }], signal),
    );
  }

  /** Gives the room back, once all writes have settled. After an error it may be tried again. */
  revoke(options: CallOptions = {}): Promise<Outcome<undefined>> {
    return this.#settle(options, () => this.#options.calls.revoke('put', [this.key]));
  }

  async #settle(
    options: CallOptions,
    act: (signal: CancelSignal) => Promise<readonly Expected<undefined>[]>,
  ): Promise<Outcome<undefined>> {
    if (!this.#isOpen) return { error: ErrorCode.INVALID_PARAMS };
    this.#isOpen = false;
    await Promise.allSettled(this.#writing);
    const { gate, onSettled, transferMs } = this.#options;
    const outcome = await gate.one('put', transferMs, options, async (signal) => {
      const [answer = { error: ErrorCode.RPC_FAIL }] = await act(signal);
      return answer;
    });
    if ('error' in outcome && outcome.error !== ErrorCode.OBJECT_NOT_FOUND) this.#isOpen = true;
    else onSettled();
    return outcome;
  }
}
