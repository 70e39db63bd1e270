import {
  assert,
  type Clock,
  deadline,
  Fault,
  type Logger,
  type Random,
  type Scheduled,
} from '@tsukimi/base';
import {
  allocateMemory,
  type FileRange,
  type Memory,
  mapFileMemory,
  type TransferEngine,
} from '@tsukimi/transfer';
import { ErrorCode, makeUuid, type Segment, type Uuid } from '@tsukimi/wire';
import type { LifeOutcome } from './core/store-life.ts';
import type { Gate } from './gate.ts';
import type { MasterLink } from './master-link.ts';
import type { CallOptions, Outcome } from './stored-object.ts';

/** Memory to lend to the store. */
export interface SegmentSize {
  readonly byteCount: number;
  /** In shared memory where there is room for it, which members on this host reach without a network. */
  readonly shared: boolean;
}

export interface SegmentsOptions {
  readonly engine: TransferEngine;
  readonly link: MasterLink;
  readonly gate: Gate;
  /** The name of all its segments. */
  readonly localHostname: string;
  readonly hostId: string;
  readonly controlTimeoutMs: number;
  /** Told when the first segment was mounted or the last one was taken back. */
  readonly onLending: (lends: boolean) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

interface Lent {
  readonly segment: Segment;
  readonly memory: Memory;
}

/** A segment that leaves with notice is looked at so often whether the master has let go of it. */
const leavingPollMs = 1_000;

/** The memory this client lends to the store: any number of segments, which come and go at run time. */
export class Segments {
  readonly #options: SegmentsOptions;
  readonly #lent = new Map<Uuid, Lent>();
  /** Announced as leaving: still readable, until the master forgets them. */
  readonly #leaving = new Map<Uuid, Lent & { scheduled: Scheduled }>();

  constructor(options: SegmentsOptions) {
    this.#options = options;
  }

  /** What is lent now, without what is about to leave. */
  get list(): readonly Segment[] {
    return [...this.#lent.values()].map(({ segment }) => segment);
  }

  /** The memory of the first segment; null where there is none. */
  get firstMemory(): Memory | null {
    const [first] = this.#lent.values();
    return first?.memory ?? null;
  }

  /** Opens memory to peers, to be mounted when the master is found. */
  add(size: SegmentSize): void {
    this.#register(this.#allocate(size));
  }

  /**
   * Lends more memory, or a part of a file, at once: the id by which it is taken back.
   * `NO_AVAILABLE_HANDLE` when this host has not that much, `FILE_OPEN_FAIL`, `INVALID_PARAMS` for a part
   * that the file does not have, `RPC_FAIL` when no master takes it.
   */
  async mount(size: SegmentSize | FileRange, options: CallOptions = {}): Promise<Outcome<Uuid>> {
    const { clock, controlTimeoutMs, engine, gate, link, onLending } = this.#options;
    // Before any limit of time begins: filling much memory takes long.
    const memory = this.#obtain(size);
    if ('error' in memory) return memory;
    const outcome = await gate.one<Uuid>('mount', 2 * controlTimeoutMs, options, async (signal) => {
      const lent = this.#register(memory.ok);
      const { id } = lent.segment;
      using limit = deadline(clock, controlTimeoutMs, 'publication', signal);
      await engine.published(limit.signal).catch(() => {});
      const mounted = await link.ask('MountSegment', [lent.segment, link.clientId], { signal });
      if ('ok' in mounted) return { ok: id };
      this.#lent.delete(id);
      if (mounted.error === ErrorCode.RPC_TIMEOUT || mounted.error === ErrorCode.RPC_FAIL) {
        // The master may have taken it although its answer did not come: it must let go of it first.
        this.#leave(lent, clock.monotonicMs() + leavingPollMs);
        await link.ask('UnmountSegment', [id, link.clientId], { timeoutMs: leavingPollMs });
      } else this.#free(lent);
      return mounted;
    });
    if ('ok' in outcome) onLending(true);
    else memory.ok.close();
    return outcome;
  }

  /**
   * Takes a segment back, with all that is in it: at once, or after `graceMs`, in which nothing new is
   * put there and all of it stays readable. `INVALID_PARAMS` for an id that is not lent.
   */
  unmount(
    id: Uuid,
    options: CallOptions & { readonly graceMs?: number } = {},
  ): Promise<Outcome<undefined>> {
    const { clock, controlTimeoutMs, gate, link, onLending } = this.#options;
    const { graceMs = 0 } = options;
    return gate.one<undefined>('unmount', controlTimeoutMs, options, async (signal) => {
      const lent = this.#lent.get(id);
      if (lent === undefined) return { error: ErrorCode.INVALID_PARAMS };
      const { clientId } = link;
      const done =
        graceMs > 0
          ? await link.ask('GracefulUnmountSegment', [id, clientId, graceMs], { signal })
          : await link.ask('UnmountSegment', [id, clientId], { signal });
      if ('error' in done) return done;
      this.#lent.delete(id);
      if (graceMs > 0) this.#leave(lent, clock.monotonicMs() + graceMs);
      else this.#free(lent);
      // Until the last segment has left, life signs keep what is in it alive.
      if (this.#lent.size === 0 && this.#leaving.size === 0) onLending(false);
      return done;
    });
  }

  /** One of `SegmentStatus`, of any client's segment; `SEGMENT_NOT_FOUND`. */
  status(segmentName: string, options: CallOptions = {}): Promise<Outcome<number>> {
    const { controlTimeoutMs, gate, link } = this.#options;
    return gate.one('status', controlTimeoutMs, options, (signal) =>
      link.ask('QuerySegmentStatus', [segmentName], { signal }),
    );
  }

  /** Takes back this client's disk, with all that lies on it alone. */
  unmountLocalDisk(options: CallOptions = {}): Promise<Outcome<undefined>> {
    const { controlTimeoutMs, gate, link } = this.#options;
    return gate.one('unmount', controlTimeoutMs, options, (signal) =>
      link.ask('UnmountLocalDiskSegment', [link.clientId], { signal }),
    );
  }

  /** For the life cycle: all that is lent, one after the other. */
  async mountAll(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#forAll((segment) => this.#options.link.mount(segment, signal));
  }

  remountAll(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#options.link.remount(this.list, signal);
  }

  async unmountAll(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#forAll(({ id }) => this.#options.link.unmount(id, signal));
  }

  /** Peers reach none of it afterwards. */
  close(): void {
    for (const { scheduled } of this.#leaving.values()) scheduled.cancel();
    for (const lent of [...this.#lent.values(), ...this.#leaving.values()]) this.#free(lent);
    this.#lent.clear();
    this.#leaving.clear();
  }

  async #forAll(act: (segment: Segment) => Promise<LifeOutcome>): Promise<LifeOutcome> {
    for (const segment of this.list) {
      const outcome = await act(segment);
      if (outcome.kind !== 'done') return outcome;
    }
    return { kind: 'done' };
  }

  #obtain(size: SegmentSize | FileRange): Outcome<Memory> {
    try {
      return { ok: 'path' in size ? mapFileMemory(size) : this.#allocate(size) };
    } catch (error) {
      if (Fault.has(error, 'NOT_FOUND')) return { error: ErrorCode.FILE_OPEN_FAIL };
      if (Fault.has(error, 'INVALID_ARGUMENT')) return { error: ErrorCode.INVALID_PARAMS };
      this.#options.logger.warn('store.segment_unavailable', { reason: String(error) });
      return { error: ErrorCode.NO_AVAILABLE_HANDLE };
    }
  }

  /** Shared memory where there is room for it, else memory of this process, reached over TCP. */
  #allocate({ byteCount, shared }: SegmentSize): Memory {
    const label = 'the store segment';
    if (!shared) return allocateMemory({ byteCount, shared, label });
    try {
      return allocateMemory({ byteCount, shared, label });
    } catch (error) {
      if (!Fault.has(error, 'NO_SPACE', 'UNSUPPORTED')) throw error;
      this.#options.logger.warn('store.no_shared_memory', { reason: error.message });
      return allocateMemory({ byteCount, shared: false, label });
    }
  }

  #register(memory: Memory): Lent {
    const { engine, hostId, localHostname, random } = this.#options;
    engine.register(memory);
    const segment: Segment = {
      id: makeUuid(random),
      name: localHostname,
      base: memory.baseAddress,
      size: memory.byteCount,
      teEndpoint: engine.name,
      protocol: 'tcp',
      hostId,
    };
    const lent = { segment, memory };
    this.#lent.set(segment.id, lent);
    return lent;
  }

  #free({ memory }: Lent): void {
    this.#options.engine.unregister(memory);
    memory.close();
  }

  /** Keeps the memory until the master knows the segment no more. */
  #leave(lent: Lent, fromMs: number): void {
    const { clock, link, onLending } = this.#options;
    const { id } = lent.segment;
    const look = async () => {
      const limit = { timeoutMs: leavingPollMs };
      const status = await link.ask('QuerySegmentStatusById', [id], limit);
      if (!this.#leaving.has(id)) return;
      if (!('error' in status) || status.error !== ErrorCode.SEGMENT_NOT_FOUND)
        return wait(leavingPollMs);
      this.#leaving.delete(id);
      this.#free(lent);
      if (this.#lent.size === 0 && this.#leaving.size === 0) onLending(false);
    };
    const wait = (delayMs: number) => {
      const scheduled = clock.schedule(delayMs, () => void look());
      this.#leaving.set(id, { ...lent, scheduled });
    };
    assert(!this.#lent.has(id), 'a segment that leaves is not lent any more');
    wait(Math.max(0, fromMs - clock.monotonicMs()));
  }
}
