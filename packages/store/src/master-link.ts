import { type Address, type Clock, Fault, type Logger } from '@tsukimi/base';
import { RpcClient } from '@tsukimi/rpc';
import {
  type ArgsOf,
  ClientStatus,
  ErrorCode,
  errorName,
  type MasterProtocol,
  masterProtocol,
  type ReplicaDescriptor,
  ReplicaType,
  type ReplicateConfig,
  type ResultOf,
  type Segment,
  SoftPinAction,
  type Uuid,
} from '@tsukimi/wire';
import type { LifeOutcome } from './core/store-life.ts';
import type { MemoryReplica, PutEntry, RemoveOutcome, StoredObject } from './stored-object.ts';

/** What a master must answer to ServiceReady, whatever its release. */
const serviceVersion = '2.0.0';
const tenantId = 'default';
/** What a caller who gave up still waits for, so that the master is not left with half-written objects. */
const revokeTimeoutMs = 1_000;

export interface MasterLinkOptions {
  readonly address: Address;
  readonly clientId: Uuid;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For calls of the life cycle. */
  readonly controlTimeoutMs: number;
  /** Segment that puts should land in, by name; empty for none. */
  readonly preferredSegment: string;
  readonly hostId: string;
  /** Told when the master cannot be reached at all. */
  readonly onLost: (reason: string) => void;
}

export type PutStart =
  | { readonly kind: 'started'; readonly replicas: readonly MemoryReplica[] }
  | { readonly kind: 'exists' | 'no-space' | 'refused' };

/**
 * The calls a store client makes, in its own terms. Null is no answer in time; every answer is
 * checked to be as long as its request. Nothing rejects.
 */
export class MasterLink {
  readonly #options: MasterLinkOptions;
  readonly #client: RpcClient<MasterProtocol>;
  readonly #config: ReplicateConfig;

  constructor(options: MasterLinkOptions) {
    this.#options = options;
    const { address, clock, controlTimeoutMs } = options;
    this.#client = new RpcClient({
      address,
      clock,
      protocol: masterProtocol,
      connectTimeoutMs: controlTimeoutMs,
      callTimeoutMs: controlTimeoutMs,
    });
    this.#config = {
      replicaNum: 1,
      nofReplicaNum: 0,
      dfsReplicaNum: 0,
      softPinAction: SoftPinAction.PRESERVE,
      softPinTtlMs: null,
      withHardPin: false,
      preferredSegments: [],
      preferredSegment: options.preferredSegment,
      preferredNofSegments: [],
      preferAllocInSameNode: false,
      dataType: 0,
      hostId: options.hostId,
      groupIds: null,
    };
  }

  close(): void {
    this.#client.close();
  }

  /** Whether a master of our protocol answers. */
  async greet(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const ready = await this.#client.call('ServiceReady', [], { signal });
      if ('error' in ready) return refusal('ServiceReady', ready.error);
      if (ready.ok !== serviceVersion) {
        const reason = `it speaks version "${ready.ok}", not ${serviceVersion}; check the master's address`;
        return { kind: 'refused', reason };
      }
      const config = await this.#client.call('GetStorageConfig', [], { signal });
      return 'error' in config ? refusal('GetStorageConfig', config.error) : { kind: 'done' };
    });
  }

  async mount(segment: Segment, signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const args = [segment, this.#options.clientId] as const;
      const done = await this.#client.call('MountSegment', [...args], { signal });
      return 'error' in done ? refusal('MountSegment', done.error) : { kind: 'done' };
    });
  }

  async remount(segment: Segment, signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const { clientId } = this.#options;
      const done = await this.#client.call('ReMountSegment', [[segment], clientId], { signal });
      return 'error' in done ? refusal('ReMountSegment', done.error) : { kind: 'done' };
    });
  }

  async unmount(segmentId: Uuid, signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const { clientId } = this.#options;
      const done = await this.#client.call('UnmountSegment', [segmentId, clientId], { signal });
      return 'error' in done ? refusal('UnmountSegment', done.error) : { kind: 'done' };
    });
  }

  async ping(signal: AbortSignal): Promise<LifeOutcome> {
    return this.#control(async () => {
      const pong = await this.#client.call('Ping', [this.#options.clientId], { signal });
      if ('error' in pong) return refusal('Ping', pong.error);
      return { kind: pong.ok.clientStatus === ClientStatus.OK ? 'done' : 'need-remount' };
    });
  }

  async putStart(
    entries: readonly PutEntry[],
    signal: AbortSignal,
  ): Promise<readonly PutStart[] | null> {
    const keys = entries.map(({ key }) => key);
    const sizes = entries.map(({ byteCount }) => byteCount);
    const { clientId } = this.#options;
    const answers = await this.#batch('BatchPutStart', keys.length, signal, [
      clientId,
      keys,
      sizes,
      this.#config,
      tenantId,
    ]);
    return (
      answers?.map((answer, index): PutStart => {
        if ('error' in answer) {
          if (answer.error === ErrorCode.OBJECT_ALREADY_EXISTS) return { kind: 'exists' };
          if (answer.error === ErrorCode.NO_AVAILABLE_HANDLE) return { kind: 'no-space' };
          this.#refused('BatchPutStart', answer.error);
          return { kind: 'refused' };
        }
        const memory = inMemory(answer.ok);
        // All of them must be written, so one that we cannot write spoils the put.
        const isWhole =
          memory?.byteCount === sizes[index] && memory?.replicas.length === answer.ok.length;
        if (memory === null || !isWhole) return { kind: 'refused' };
        return { kind: 'started', replicas: memory.replicas };
      }) ?? null
    );
  }

  /** Whether each key is complete now. */
  async putEnd(keys: readonly string[], signal: AbortSignal): Promise<readonly boolean[] | null> {
    const metas = keys.map((key) => ({ key, objectChecksum: null }));
    const { clientId } = this.#options;
    const answers = await this.#batch('BatchPutEnd', keys.length, signal, [
      clientId,
      metas,
      ReplicaType.ALL,
      tenantId,
    ]);
    for (const answer of answers ?? []) {
      if ('error' in answer) this.#refused('BatchPutEnd', answer.error);
    }
    return answers?.map((answer) => !('error' in answer)) ?? null;
  }

  /** Gives up writes of this client, within a limit of its own. What was never started is no matter. */
  async putRevoke(keys: readonly string[]): Promise<void> {
    const { clientId } = this.#options;
    const args: ArgsOf<MasterProtocol['BatchPutRevoke']> = [
      clientId,
      [...keys],
      ReplicaType.ALL,
      tenantId,
    ];
    await this.#try('BatchPutRevoke', { timeoutMs: revokeTimeoutMs }, args);
  }

  /** Null elements are not there, or not where we can read; null is no answer. */
  async find(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (StoredObject | null)[] | null> {
    // The lease began at the master later than this, and so ends later than we think.
    const sentMs = this.#options.clock.monotonicMs();
    const answers = await this.#batch('BatchGetReplicaList', keys.length, signal, [
      [...keys],
      tenantId,
    ]);
    return (
      answers?.map((answer, index) => {
        if ('error' in answer) return null;
        const memory = inMemory(answer.ok.replicas);
        if (memory === null) return null;
        return {
          key: keys[index] as string,
          ...memory,
          leaseUntilMs: sentMs + answer.ok.leaseTtlMs,
        };
      }) ?? null
    );
  }

  async existKeys(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly boolean[] | null> {
    const answers = await this.#batch('BatchExistKey', keys.length, signal, [[...keys], tenantId]);
    return answers?.map((answer) => !('error' in answer) && answer.ok) ?? null;
  }

  async remove(
    keys: readonly string[],
    force: boolean,
    signal: AbortSignal,
  ): Promise<readonly RemoveOutcome[] | null> {
    const answers = await this.#batch('BatchRemove', keys.length, signal, [
      [...keys],
      force,
      tenantId,
    ]);
    return (
      answers?.map((answer): RemoveOutcome => {
        if (!('error' in answer)) return 'removed';
        switch (answer.error) {
          case ErrorCode.OBJECT_NOT_FOUND:
            return 'missing';
          case ErrorCode.OBJECT_HAS_LEASE:
          case ErrorCode.REPLICA_IS_NOT_READY:
          case ErrorCode.OBJECT_HAS_REPLICATION_TASK:
          case ErrorCode.OBJECT_REPLICA_BUSY:
            return 'in-use';
          default:
            this.#refused('BatchRemove', answer.error);
            return 'failed';
        }
      }) ?? null
    );
  }

  async removeAll(force: boolean, signal: AbortSignal): Promise<number | null> {
    const count = await this.#try('RemoveAll', { signal }, [force, tenantId]);
    return count === null ? null : Number(count);
  }

  /** One answer for each of `count` requests, else the whole answer is worth nothing. */
  async #batch<K extends BatchName>(
    name: K,
    count: number,
    signal: AbortSignal,
    args: ArgsOf<MasterProtocol[K]>,
  ): Promise<ResultOf<MasterProtocol[K]> | null> {
    const answers = await this.#try(name, { signal }, args);
    if (answers === null || answers.length === count) return answers;
    this.#options.logger.warn('store.malformed_answer', { call: name, count: answers.length });
    return null;
  }

  async #try<K extends keyof MasterProtocol>(
    name: K,
    options: { readonly signal?: AbortSignal; readonly timeoutMs?: number },
    args: ArgsOf<MasterProtocol[K]>,
  ): Promise<ResultOf<MasterProtocol[K]> | null> {
    try {
      return await this.#client.call(name, args, {
        ...options,
        // An operation brings its own limit with its signal.
        timeoutMs: options.timeoutMs ?? 60_000,
      });
    } catch (error) {
      if (Fault.has(error, 'PEER_UNREACHABLE')) this.#options.onLost(error.message);
      else if (!Fault.has(error, 'DEADLINE_PASSED', 'CANCELLED') && !options.signal?.aborted) {
        this.#options.logger.warn('store.call_failed', { call: name, reason: String(error) });
      }
      return null;
    }
  }

  #refused(call: string, code: number): void {
    this.#options.logger.warn('store.call_refused', { call, error: errorName(code) });
  }

  async #control(act: () => Promise<LifeOutcome>): Promise<LifeOutcome> {
    try {
      return await act();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const answered = Fault.has(error, 'REFUSED', 'MALFORMED');
      return { kind: answered ? 'refused' : 'unreachable', reason };
    }
  }
}

type BatchName =
  | 'BatchPutStart'
  | 'BatchPutEnd'
  | 'BatchGetReplicaList'
  | 'BatchExistKey'
  | 'BatchRemove';

function refusal(call: string, code: number): LifeOutcome {
  return { kind: 'refused', reason: `${call} answered ${errorName(code)}` };
}

/** The replicas in memory and their size; null when there is none, or when they differ in size. */
function inMemory(
  descriptors: readonly ReplicaDescriptor[],
): { readonly byteCount: number; readonly replicas: readonly MemoryReplica[] } | null {
  const replicas: MemoryReplica[] = [];
  let byteCount = 0;
  for (const { location } of descriptors) {
    if (location.kind !== 'memory') continue;
    const { size, transportEndpoint, bufferAddress } = location.buffer;
    if (size < 1 || (replicas.length > 0 && size !== byteCount)) return null;
    byteCount = size;
    replicas.push({ endpoint: transportEndpoint, address: bufferAddress });
  }
  return replicas.length === 0 ? null : { byteCount, replicas };
}
