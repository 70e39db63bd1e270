import { assert, type CancelSignal, Ending, Fault, type Service, sleep } from '@tsukimi/base';
import type { Memory } from '@tsukimi/transfer';
import { ErrorCode, type Expected, makeUuid, type ReplicateConfig } from '@tsukimi/wire';
import { BufferPool } from './buffer-pool.ts';
import { EndpointHealth } from './core/endpoint-health.ts';
import { type LifeState, StoreLife } from './core/store-life.ts';
import { DiskReader } from './disk/disk-reader.ts';
import { DiskTier } from './disk/disk-tier.ts';
import { PeerDisks } from './disk/peer-disks.ts';
import { SharedFileWriter } from './disk/shared-file-writer.ts';
import { Gate } from './gate.ts';
import { LifeRunner } from './life-runner.ts';
import { Lookups } from './lookups.ts';
import { MasterLink } from './master-link.ts';
import { ObjectPuts } from './object-puts.ts';
import { ObjectReader } from './object-reader.ts';
import { ObjectWriter } from './object-writer.ts';
import { Objects } from './objects.ts';
import { Operations } from './operations.ts';
import { ReplicaWriter } from './replica-writer.ts';
import { defaultReplicateConfig } from './replicate-config.ts';
import { Segments } from './segments.ts';
import {
  defaultTimeouts,
  type StoreClientOptions,
  type StoreTimeouts,
} from './store-client-options.ts';
import type {
  CallOptions,
  Outcome,
  PutEntry,
  PutOutcome,
  ReadOutcome,
  RemoveOutcome,
  StoredObject,
} from './stored-object.ts';
import { TaskRunner } from './task-runner.ts';
import { Tasks } from './tasks.ts';
import { WriteCalls } from './write-calls.ts';

const pingPeriodMs = 1_000;
const joinPollMs = 20;
const backoffMinMs = 100;
const backoffMaxMs = 2_000;
/** Keys of one call to the master. More are asked for in several calls. */
const batchKeyCountMax = 1_024;
const keyByteCountMax = 4_096;

/**
 * A member of the store: lends a segment, puts, finds and reads objects, on Mooncake's wire.
 *
 * A master that is down, dies or comes back never fails anything here: meanwhile operations answer at
 * once that they failed, and the segment is mounted again by itself.
 */
export class StoreClient implements Service {
  readonly name: string;
  /** All that can be done with objects, with Mooncake's semantics and error numbers. */
  readonly objects: Objects;
  /** What this client lends to the store. */
  readonly segments: Segments;
  readonly tasks: Tasks;
  /** Null where none was asked for. */
  readonly disk: DiskTier | null;
  readonly #options: StoreClientOptions;
  readonly #timeouts: StoreTimeouts;
  readonly #link: MasterLink;
  readonly #life: StoreLife;
  readonly #lifeRunner: LifeRunner;
  readonly #operations: Operations;
  readonly #gate: Gate;
  readonly #staging: BufferPool;
  readonly #lookups: Lookups;
  readonly #puts: ObjectPuts;
  readonly #reader: ObjectReader;
  readonly #taskRunner: TaskRunner;
  readonly #peerDisks: PeerDisks;
  readonly #sharedFiles: SharedFileWriter;
  readonly #defaultConfig: ReplicateConfig;
  readonly #buffers = new Set<Memory>();
  readonly #ending = new Ending();
  #running: Promise<void> = Promise.resolve();

  constructor(options: StoreClientOptions) {
    const { engine, clock, random, logger, localHostname } = options;
    const ports = { engine, clock, random, logger };
    this.name = `store client ${localHostname}`;
    this.#options = options;
    this.#timeouts = { ...defaultTimeouts, ...options.timeouts };
    const controlTimeoutMs = this.#timeouts.controlMs;
    const hostId = hostIdOf(localHostname);
    const health = new EndpointHealth();
    const link = new MasterLink({
      ...ports,
      address: options.masterAddress,
      clientId: makeUuid(random),
      tenantId: options.tenantId ?? 'default',
      controlTimeoutMs,
      health,
      onLost: (reason) => {
        if (!this.#life.reachable) return;
        this.#life.lostContact(reason);
        this.#lifeRunner.turn();
      },
    });
    this.#life = new StoreLife({
      hasSegment: options.segment !== null,
      pingPeriodMs,
      backoffMinMs,
      backoffMaxMs,
      random,
      logger,
    });
    const staging = new BufferPool({ byteCountMax: options.stagingByteCountMax ?? 256 * 2 ** 20 });
    const lookups = new Lookups(link, clock);
    const calls = new WriteCalls(link, (key, path) => this.#sharedFiles.offer(key, path));
    const replicaWriter = new ReplicaWriter({ ...ports, health });
    const writer = new ObjectWriter({
      ...ports,
      calls,
      replicaWriter,
      staging,
      health,
      checksums: options.checksums ?? false,
    });
    this.#link = link;
    this.#staging = staging;
    this.#lookups = lookups;
    this.#operations = new Operations(clock);
    this.#gate = new Gate(this.#operations, () => this.reachable);
    this.#puts = new ObjectPuts({
      writer,
      calls,
      replicaWriter,
      lookups,
      gate: this.#gate,
      transferMs: this.#timeouts.transferMs,
      clock,
    });
    this.disk =
      options.disk === undefined
        ? null
        : new DiskTier({
            ...ports,
            ...options.disk,
            localHostname,
            link,
            staging,
            isServing: () => this.#life.state.kind === 'serving',
          });
    this.#peerDisks = new PeerDisks({ ...ports, tenantId: link.tenantId });
    const disks = new DiskReader({
      tier: this.disk,
      peers: this.#peerDisks,
      tenantId: link.tenantId,
      sharedDirectory: () => link.sharedDirectory,
      logger,
    });
    this.#reader = new ObjectReader({ ...ports, health, disks });
    this.#sharedFiles = new SharedFileWriter({
      ...ports,
      link,
      lookups,
      reader: this.#reader,
      staging,
    });
    this.#defaultConfig = defaultReplicateConfig(
      options.segment === null ? '' : localHostname,
      hostId,
    );
    const common = { gate: this.#gate, link, controlTimeoutMs };
    this.objects = new Objects({
      ...common,
      lookups,
      puts: this.#puts,
      reader: this.#reader,
      staging,
      defaultConfig: this.#defaultConfig,
      timeouts: this.#timeouts,
    });
    this.tasks = new Tasks(common);
    this.segments = new Segments({
      ...ports,
      ...common,
      localHostname,
      hostId,
      onLending: (lends) => {
        if (this.#life.lending(lends)) this.#lifeRunner.turn();
      },
    });
    this.#lifeRunner = new LifeRunner({
      ...ports,
      life: this.#life,
      link,
      segments: this.segments,
      controlTimeoutMs,
    });
    this.#taskRunner = new TaskRunner({
      ...ports,
      link,
      isLending: () => this.#life.state.kind === 'serving' && this.segments.list.length > 0,
    });
  }

  /** Whether the master answered last time; while it is false operations fail at once. */
  get reachable(): boolean {
    return this.#life.reachable;
  }

  get state(): LifeState['kind'] {
    return this.#life.state.kind;
  }

  /** What Mooncake's clients say of themselves as 0, 1 and 2. */
  get health(): 'healthy' | 'closed' | 'master-unreachable' {
    if (this.#operations.isClosed) return 'closed';
    return this.reachable ? 'healthy' : 'master-unreachable';
  }

  /** The name by which this client's segments are known. */
  get hostname(): string {
    return this.#options.localHostname;
  }

  /** The memory lent to the store first; only after `start`. */
  get segmentMemory(): Memory | null {
    return this.segments.firstMemory;
  }

  /** Resolves once the segment is registered; the master is looked for in the background. */
  async start(): Promise<void> {
    const { segment } = this.#options;
    await this.disk?.start();
    if (segment !== null) this.segments.add(segment);
    this.#life.start();
    this.#running = this.#lifeRunner.run().catch((error: unknown) => this.#ending.died(error));
    this.#taskRunner.start();
  }

  /** Resolves once the master serves this client, with its segments; rejects with the signal's reason. */
  async joined(signal: AbortSignal): Promise<void> {
    while (this.#life.state.kind !== 'serving') {
      signal.throwIfAborted();
      await sleep(this.#options.clock, joinPollMs, signal);
    }
  }

  /**
   * Makes memory known to the transfer engine, so that peers may read and write it; objects are put from
   * and read into any memory without that. `INVALID_PARAMS` where some of it is known already.
   */
  registerBuffer(memory: Memory): Outcome<undefined> {
    if (this.#buffers.has(memory)) return { error: ErrorCode.INVALID_PARAMS };
    if (this.#operations.isClosed) return { error: ErrorCode.UNAVAILABLE_IN_CURRENT_STATUS };
    this.#buffers.add(memory);
    this.#options.engine.register(memory);
    return { ok: undefined };
  }

  /** The opposite; the memory stays the caller's to close. */
  unregisterBuffer(memory: Memory): Outcome<undefined> {
    if (!this.#buffers.delete(memory)) return { error: ErrorCode.INVALID_PARAMS };
    this.#options.engine.unregister(memory);
    return { ok: undefined };
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(deadlineSignal: AbortSignal): Promise<void> {
    await this.#operations.close(deadlineSignal);
    await this.#taskRunner.stop();
    await this.#sharedFiles.stop();
    await this.disk?.stop(deadlineSignal);
    this.#life.stop();
    this.#lifeRunner.turn();
    await this.#running;
    this.#peerDisks.close();
    this.#link.close();
    this.segments.close();
    for (const memory of this.#buffers) this.#options.engine.unregister(memory);
    this.#buffers.clear();
    this.#ending.stopped();
  }

  /**
   * Puts what the store does not have. One outcome for each entry, in order. Throws
   * `INVALID_ARGUMENT` for a key or size that no store takes; rejects for no other reason.
   */
  async putIfAbsent(
    entries: readonly PutEntry[],
    { signal, timeoutMs = this.#timeouts.transferMs }: CallOptions = {},
  ): Promise<PutOutcome[]> {
    for (const { key, byteCount } of entries) {
      checkKey(key);
      if (!Number.isSafeInteger(byteCount) || byteCount < 1) {
        throw new Fault('INVALID_ARGUMENT', `an object of ${byteCount} bytes cannot be stored`);
      }
    }
    if (!this.reachable) return entries.map(() => 'failed');
    const outcomes = await this.#operations.run('put', timeoutMs, signal, async (limit) => {
      const batches: PutOutcome[] = [];
      for (const batch of batchesOf(entries)) {
        batches.push(...(await this.#puts.putIfAbsent(batch, this.#defaultConfig, limit)));
      }
      return batches;
    });
    return outcomes ?? entries.map(() => 'failed');
  }

  async put(key: string, value: Buffer, options: CallOptions = {}): Promise<PutOutcome> {
    const entry = { key, byteCount: value.length, fill: (into: Buffer) => void value.copy(into) };
    const [outcome = 'failed'] = await this.putIfAbsent([entry], options);
    return outcome;
  }

  /**
   * Where objects are, with a lease on each. Null for what is not there, is not readable from here or
   * could not be asked for in time.
   */
  async find(
    keys: readonly string[],
    { signal, timeoutMs = this.#timeouts.lookupMs }: CallOptions = {},
  ): Promise<(StoredObject | null)[]> {
    return this.#ask('find', keys, timeoutMs, signal, (batch, limit) =>
      this.#lookups.find(batch, limit),
    );
  }

  /** Copies an object that was found; `into` must have its length. */
  async read(
    object: StoredObject,
    into: Buffer,
    { signal, timeoutMs = this.#timeouts.transferMs }: CallOptions = {},
  ): Promise<ReadOutcome> {
    if (into.length !== object.byteCount) {
      const reason = `${into.length} bytes of memory for an object of ${object.byteCount}`;
      throw new Fault('INVALID_ARGUMENT', reason);
    }
    const outcome = await this.#operations.run('read', timeoutMs, signal, (limit) =>
      this.#reader.read(object, into, limit),
    );
    return outcome ?? 'failed';
  }

  /** Finds and reads at once, into memory the caller gives once the size is known, null to skip. */
  async getInto(
    entries: readonly { readonly key: string; into(byteCount: number): Buffer | null }[],
    options: CallOptions = {},
  ): Promise<(Buffer | null)[]> {
    const objects = await this.find(
      entries.map(({ key }) => key),
      options,
    );
    return Promise.all(
      entries.map(async (entry, index) => {
        const object = objects[index] ?? null;
        const into = object === null ? null : entry.into(object.byteCount);
        if (object === null || into === null) return null;
        return (await this.read(object, into, options)) === 'read' ? into : null;
      }),
    );
  }

  /** A copy in fresh memory; null when it is not to be had, or longer than `byteCountMax`. */
  async get(key: string, byteCountMax: number, options: CallOptions = {}): Promise<Buffer | null> {
    const into = (byteCount: number) =>
      byteCount > byteCountMax ? null : Buffer.allocUnsafe(byteCount);
    const [value = null] = await this.getInto([{ key, into }], options);
    return value;
  }

  /** Whether complete objects are there, which leases them; null when that could not be asked. */
  async exist(
    keys: readonly string[],
    { signal, timeoutMs = this.#timeouts.lookupMs }: CallOptions = {},
  ): Promise<(boolean | null)[]> {
    return this.#ask('exist', keys, timeoutMs, signal, async (batch, limit) => {
      const answers = await this.#lookups.exist(batch, limit);
      // An answer that is an error is an answer: the object cannot be had.
      return answers.map((answer) =>
        'error' in answer && !isUnanswered(answer.error) ? { ok: false } : answer,
      );
    });
  }

  /** `force` removes what others hold leases on too. */
  async remove(
    key: string,
    options: CallOptions & { readonly force?: boolean } = {},
  ): Promise<RemoveOutcome> {
    const [outcome = 'failed'] = await this.removeBatch([key], options);
    return outcome;
  }

  async removeBatch(
    keys: readonly string[],
    options: CallOptions & { readonly force?: boolean } = {},
  ): Promise<RemoveOutcome[]> {
    for (const key of keys) checkKey(key);
    const outcomes = await this.objects.removeBatch(keys, options);
    return outcomes.map((outcome): RemoveOutcome => {
      if ('ok' in outcome) return 'removed';
      switch (outcome.error) {
        case ErrorCode.OBJECT_NOT_FOUND:
          return 'missing';
        case ErrorCode.OBJECT_HAS_LEASE:
        case ErrorCode.REPLICA_IS_NOT_READY:
        case ErrorCode.OBJECT_HAS_REPLICATION_TASK:
        case ErrorCode.OBJECT_REPLICA_BUSY:
          return 'in-use';
        default:
          return 'failed';
      }
    });
  }

  /** How many objects were removed; null when the master could not be asked. */
  async removeAll(
    options: CallOptions & { readonly force?: boolean } = {},
  ): Promise<number | null> {
    const outcome = await this.objects.removeAll(options);
    return 'ok' in outcome ? outcome.ok : null;
  }

  checkInvariants(): void {
    this.#life.checkInvariants();
    this.#staging.checkInvariants();
    this.disk?.checkInvariants();
    if (this.#operations.runningCount > 0) return;
    assert(this.#staging.lentByteCount === 0, 'a store client at rest holds no staging memory');
    assert(this.#puts.writingCount === 0, 'a store client at rest is putting no key');
  }

  /** Null for each that could not be had in time. */
  async #ask<T>(
    what: string,
    keys: readonly string[],
    timeoutMs: number,
    signal: AbortSignal | undefined,
    ask: (batch: readonly string[], limit: CancelSignal) => Promise<readonly Expected<T>[]>,
  ): Promise<(T | null)[]> {
    for (const key of keys) checkKey(key);
    const options = signal === undefined ? {} : { signal };
    const outcomes = await this.#gate.each(what, timeoutMs, keys, options, ask);
    return outcomes.map((outcome) => ('ok' in outcome ? outcome.ok : null));
  }
}

function isUnanswered(error: number): boolean {
  return error === ErrorCode.RPC_FAIL || error === ErrorCode.RPC_TIMEOUT;
}

function checkKey(key: string): void {
  const byteCount = Buffer.byteLength(key);
  if (byteCount < 1 || byteCount > keyByteCountMax) {
    throw new Fault(
      'INVALID_ARGUMENT',
      `a key has 1 to ${keyByteCountMax} bytes, not ${byteCount}`,
    );
  }
}

function batchesOf<T>(items: readonly T[]): (readonly T[])[] {
  const batches: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += batchKeyCountMax) {
    batches.push(items.slice(at, at + batchKeyCountMax));
  }
  return batches;
}

/** What Mooncake's clients call their host; nothing where the name says nothing about it. */
function hostIdOf(localHostname: string): string {
  const match = /^(?:\[([^\]]+)\]|([^:]*))(?::\d+)?$/.exec(localHostname);
  const host = match?.[1] ?? match?.[2] ?? localHostname;
  return ['', 'localhost', '127.0.0.1', '0.0.0.0', '::1', '::'].includes(host) ? '' : host;
}
