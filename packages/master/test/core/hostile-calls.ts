import { below, type Random } from '@tsukimi/base';
import type { FakeClock } from '@tsukimi/base/testing';
import {
  type ArgsOf,
  type MasterProtocol,
  masterProtocol,
  type ReplicateConfig,
  type Segment,
  type Uuid,
} from '@tsukimi/wire';
import type { MasterCore } from '../../src/core/master-core.ts';
import { configOf, segmentOf, uuid } from '../../src/testing.ts';

export type CallName = keyof MasterProtocol;

interface Subject {
  readonly client: Uuid;
  readonly key: string;
  readonly tenant: string;
}

/** Arguments for each call of the protocol: drawn from few names, so that calls meet, and often absurd. */
export class HostileCalls {
  /** What succeeded lately. */
  readonly #subjects: Subject[] = [];
  /** What the call that is being made is about, mostly. */
  #subject: Subject | null = null;
  readonly #random: Random;
  readonly #core: MasterCore;
  readonly #tenants: readonly string[];
  /** The copy and the task that somebody was asked for last: guessed ids hit nothing. */
  #leased: ArgsOf<MasterProtocol['DynamicReplicaCopyStart']>;
  #task: Uuid = uuid(1);
  /** Whether anybody lends memory without end: then nothing need ever be evicted. */
  readonly #isHuge: boolean;

  constructor(random: Random, core: MasterCore, tenants: readonly string[]) {
    this.#random = random;
    this.#core = core;
    this.#tenants = tenants;
    this.#isHuge = this.chance(4);
    this.#leased = [uuid(1), 'k1', 'default', 'host:1', ['host:2'], uuid(1), 0];
  }

  /** Learns from an answer what later calls may name. */
  heard(name: CallName, args: readonly unknown[], result: unknown): void {
    if (typeof result !== 'object' || result === null || !('ok' in result)) return;
    const { ok } = result;
    if (masterProtocol[name].callerAt === 0 && typeof args[1] === 'string') {
      const [client, key] = args as readonly [Uuid, string];
      const tenant = args.findLast((arg) => this.#tenants.includes(arg as string)) as string;
      this.#remember({ client, key, tenant: tenant ?? '' });
    }
    if (name === 'NotifyOffloadSuccess') {
      const [client, tasks] = args as unknown as ArgsOf<MasterProtocol['NotifyOffloadSuccess']>;
      for (const { key, tenantId: tenant } of tasks) this.#remember({ client, key, tenant });
    }
    if (name === 'CreateCopyTask' || name === 'CreateMoveTask') this.#task = ok as Uuid;
    if (name !== 'FetchTasks') return;
    const [client] = args as ArgsOf<MasterProtocol['FetchTasks']>;
    const fetched = ok as readonly { readonly id: Uuid; readonly payload: string }[];
    for (const { id, payload } of fetched) {
      this.#task = id;
      const number = (member: string) => new RegExp(`"${member}":(\\d+)`).exec(payload)?.[1] ?? '0';
      const high = number('dynamic_replication_lease_id_high');
      const low = number('dynamic_replication_lease_id_low');
      if (high === '0') continue;
      const { key, tenant_id: tenant, source, targets } = JSON.parse(payload);
      const epoch = Number(number('dynamic_replication_version_epoch'));
      const lease = [`${high}-${low}` as Uuid, epoch] as const;
      this.#leased = [client, key, tenant, source, targets, ...lease];
    }
  }

  argsOf<N extends CallName>(name: N): ArgsOf<MasterProtocol[N]> {
    this.#subject = this.#below(6) > 0 ? (this.#subjects[this.#below(8)] ?? null) : null;
    return this.#all[name]() as ArgsOf<MasterProtocol[N]>;
  }

  /** Pings of most clients: those that are silent for long are gone with all they lent. */
  pinging(): Uuid[] {
    return [1, 2, 3, 4].filter(() => this.#below(8) > 0).map(uuid);
  }

  readonly #all: { readonly [N in CallName]: () => ArgsOf<MasterProtocol[N]> } = {
    ServiceReady: () => [],
    GetFsdir: () => [],
    GetStorageConfig: () => [],
    ExistKey: () => [this.#key(), this.#tenant()],
    BatchExistKey: () => [this.#keys(), this.#tenant()],
    GetReplicaList: () => [this.#key(), this.#tenant()],
    BatchGetReplicaList: () => [this.#keys(), this.#tenant()],
    GetReplicaListByRegex: () => [this.#pattern(), this.#tenant()],
    BatchReplicaClear: () => [
      ...([this.#keys(), this.client(), this.#one(['', this.#name()])] as const),
      this.#tenant(),
    ],
    PutStart: () => [this.client(), this.#key(), this.#size(), this.#config(1), this.#tenant()],
    PutEnd: () => [this.client(), this.#meta(), this.#type(), this.#tenant()],
    PutRevoke: () => [this.client(), this.#key(), this.#type(), this.#tenant()],
    BatchPutStart: () => this.#batchStart(),
    BatchPutEnd: () => [this.client(), this.#metas(), this.#type(), this.#tenant()],
    BatchPutRevoke: () => [this.client(), this.#keys(), this.#type(), this.#tenant()],
    UpsertStart: () => [this.client(), this.#key(), this.#size(), this.#config(1), this.#tenant()],
    UpsertEnd: () => [this.client(), this.#meta(), this.#type(), this.#tenant()],
    UpsertRevoke: () => [this.client(), this.#key(), this.#type(), this.#tenant()],
    BatchUpsertStart: () => this.#batchStart(),
    BatchUpsertEnd: () => [this.client(), this.#metas(), this.#tenant()],
    BatchUpsertRevoke: () => [this.client(), this.#keys(), this.#tenant()],
    Remove: () => [this.#key(), this.#bool(), this.#tenant()],
    BatchRemove: () => [this.#keys(), this.#bool(), this.#tenant()],
    RemoveByRegex: () => [this.#pattern(), this.#bool(), this.#tenant()],
    RemoveAll: () => [this.#below(8) === 0, this.#one(['', this.#tenant()])],
    PollRemoveAll: () => [this.client()],
    Ping: () => [this.client()],
    MountSegment: () => [this.#segment(), this.client()],
    ReMountSegment: () => [this.#several(() => this.#segment()), this.client()],
    UnmountSegment: () => [this.#segmentId(), this.client()],
    GracefulUnmountSegment: () => [this.#segmentId(), this.client(), this.#graceMs()],
    QuerySegmentStatus: () => [this.#name()],
    QuerySegmentStatusById: () => [this.#segmentId()],
    BatchQueryIp: () => [[this.client(), this.client()]],
    MountNoFSegment: () => [this.#segment(), this.client()],
    ReMountNoFSegment: () => [[this.#segment()], this.client()],
    UnmountNoFSegment: () => [this.#segmentId(), this.client()],
    GetAllNoFSegments: () => [],
    GetNoFSegmentsByName: () => [this.#name()],
    MountLocalDiskSegment: () => [this.client(), this.#below(4) > 0],
    UnmountLocalDiskSegment: () => [this.client()],
    OffloadObjectHeartbeat: () => [this.client(), this.#below(4) > 0],
    ReportSsdCapacity: () => [this.client(), this.#one([-1, 0, 500, this.#size()])],
    NotifyOffloadSuccess: () => this.#offloaded(),
    EvictDiskReplica: () => [this.client(), this.#key(), this.#tenant(), this.#type()],
    BatchEvictDiskReplica: () => [this.client(), this.#keys(), this.#tenant(), this.#type()],
    PromotionObjectHeartbeat: () => [this.client()],
    PromotionAllocStart: () => [
      ...([this.client(), this.#key(), this.#tenant(), this.#honestSize()] as const),
      this.#several(() => this.#name()),
    ],
    NotifyPromotionSuccess: () => [this.client(), this.#key(), this.#tenant()],
    NotifyPromotionFailure: () => [this.client(), this.#key(), this.#tenant()],
    CopyStart: () => [
      ...([this.client(), this.#key(), this.#tenant(), this.#name()] as const),
      this.#several(() => this.#name()),
    ],
    CopyEnd: () => [this.client(), this.#key(), this.#tenant()],
    CopyRevoke: () => [this.client(), this.#key(), this.#tenant()],
    DynamicReplicaCopyStart: () => {
      const [client, key, tenant, from, to, id, epoch] = this.#leased;
      if (this.#below(4) > 0) return this.#leased;
      const sender = this.#one([client, this.client()]);
      return [sender, key, tenant, from, this.#one([to, [this.#name()]]), id, epoch];
    },
    DynamicReplicaCopyEnd: () => this.#leasedCall(),
    DynamicReplicaCopyRevoke: () => this.#leasedCall(),
    MoveStart: () => [
      ...([this.client(), this.#key(), this.#tenant(), this.#name(), this.#name()] as const),
    ],
    MoveEnd: () => [this.client(), this.#key(), this.#tenant()],
    MoveRevoke: () => [this.client(), this.#key(), this.#tenant()],
    CreateCopyTask: () => [this.#key(), this.#tenant(), this.#several(() => this.#name())],
    CreateMoveTask: () => [this.#key(), this.#tenant(), this.#name(), this.#name()],
    QueryTask: () => [this.#task],
    FetchTasks: () => [this.client(), this.#below(4)],
    MarkTaskToComplete: () => [
      this.client(),
      { id: this.#task, status: this.#below(5), message: 'as told' },
    ],
    ProbeKey: () => [this.#key(), this.#tenant()],
    BatchProbeKey: () => [
      { policy: this.#below(3), candidateSize: this.#below(3) },
      ...([this.#keys(), this.#tenant()] as const),
    ],
    GetReplicaListForAdmin: () => [this.#key(), this.#tenant()],
    BatchGetReplicaListForAdmin: () => [this.#keys(), this.#tenant()],
    RegisterPrefetchTask: () => [this.client(), this.#key(), this.#tenant()],
  };

  client(): Uuid {
    if (this.#subject !== null && this.#below(8) > 0) return this.#subject.client;
    return uuid(1 + this.#below(4));
  }

  drainRequest() {
    return {
      segments: this.#several(() => this.#name()),
      targetSegments: this.#several(() => this.#name()),
      concurrency: this.#below(3),
    };
  }

  /** Time goes by; rarely so much that everything is over. */
  passTime(clock: FakeClock): void {
    const ms = this.#one([1, 1, 20, 20, 500, 500, 1_000, 1_000, 3_000, 8_000, 31_000]);
    // Real clocks do not stop at whole milliseconds.
    clock.advance((this.#below(150) === 0 ? 700_000 : ms) + this.#below(1_000) / 1e3);
  }

  chance(count: number): boolean {
    return this.#below(count) === 0;
  }

  endpoints(): string[] {
    return this.#several(() => this.#name());
  }

  #remember(subject: Subject): void {
    this.#subjects[this.#below(8)] = subject;
  }

  #below(count: number): number {
    return below(this.#random, count);
  }

  #one<T>(values: readonly T[]): T {
    return values[this.#below(values.length)] as T;
  }

  #several<T>(make: () => T): T[] {
    return Array.from({ length: this.#below(4) }, make);
  }

  #bool(): boolean {
    return this.#below(2) === 0;
  }

  /** Mostly few, so that the other calls of an object's life find it. */
  #key(): string {
    if (this.#subject !== null && this.#below(8) > 0) return this.#subject.key;
    return this.#below(50) === 0
      ? this.#one(['', '\u0000', 'x'.repeat(5_000)])
      : `k${this.#below(12)}`;
  }

  #keys(): string[] {
    return this.#several(() => this.#key());
  }

  #tenant(): string {
    if (this.#subject !== null && this.#below(8) > 0) return this.#subject.tenant;
    return this.#one(this.#tenants);
  }

  #pattern(): string {
    return this.#one(['k1', 'k2', 'k3', 'k[45]', 'k5', 'k6', '(', this.#below(9) > 0 ? 'k7' : '']);
  }

  /** Often where the subject lies. */
  #name(): string {
    if (this.#subject !== null && this.#below(2) === 0) {
      const found = this.#core.peek(this.#subject.key, this.#subject.tenant);
      const location = 'ok' in found ? this.#one(found.ok.replicas).location : undefined;
      if (location?.kind === 'memory') return location.buffer.transportEndpoint;
    }
    return this.#below(30) === 0 ? '' : `host:${1 + this.#below(5)}`;
  }

  #segmentId(): Uuid {
    return uuid(1 + this.#below(8));
  }

  /** Eight segments of five names; the same id is not always the same memory. */
  #segment(): Segment {
    const number = 1 + this.#below(8);
    const name = `host:${1 + (number % 5)}`;
    const size = this.#isHuge && this.#below(10) === 0 ? this.#size() : 100;
    const base = this.#below(30) === 0 ? this.#one([0n, 2n ** 64n - 1n]) : BigInt(number) << 40n;
    return segmentOf(number, size, {
      name,
      teEndpoint: name,
      base,
      hostId: this.#one(['', 'host']),
    });
  }

  #size(): number {
    if (this.#below(20) > 0) return this.#one([8, 16, 16, 60]);
    return this.#one([0, 1, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]);
  }

  #graceMs(): number {
    return this.#one([0, 1, 1_500, 1_500, 20_000, Number.MAX_SAFE_INTEGER]);
  }

  #type(): number {
    return this.#below(4) > 0 ? 4 : this.#one([-1, 0, 1, 2, 3, 5, 100]);
  }

  #meta() {
    return { key: this.#key(), objectChecksum: this.#bool() ? null : 2n ** 64n - 1n };
  }

  #metas() {
    return this.#several(() => this.#meta());
  }

  #config(count: number): ReplicateConfig {
    return configOf({
      replicaNum: this.#below(20) === 0 ? this.#one([0, 2 ** 40]) : 1 + this.#below(3),
      softPinAction: this.#below(20) === 0 ? 3 : this.#below(3),
      softPinTtlMs: this.#below(12) === 0 ? this.#one([0, 5_000, 2 ** 52]) : null,
      withHardPin: this.#below(12) === 0,
      preferredSegments: this.#several(() => this.#name()),
      preferredSegment: this.#below(4) === 0 ? this.#name() : '',
      preferAllocInSameNode: this.#bool(),
      hostId: this.#one(['', 'host']),
      groupIds:
        this.#below(4) === 0 ? Array.from({ length: count }, () => `g${this.#below(2)}`) : null,
      nofReplicaNum: this.#below(40) === 0 ? 1 : 0,
      dfsReplicaNum: this.#below(40) === 0 ? 1 : 0,
    });
  }

  #batchStart(): ArgsOf<MasterProtocol['BatchPutStart']> {
    const keys = this.#keys();
    const sizes = Array.from({ length: keys.length + (this.chance(20) ? 1 : 0) }, () =>
      this.#size(),
    );
    return [this.client(), keys, sizes, this.#config(keys.length), this.#tenant()];
  }

  #offloaded(): ArgsOf<MasterProtocol['NotifyOffloadSuccess']> {
    const owner = this.client();
    const tasks = this.#several(() => ({
      ...{ tenantId: this.#tenant(), key: this.#key(), size: this.#size() },
    }));
    const metadatas = Array.from(
      { length: tasks.length + (this.chance(20) ? 1 : 0) },
      (_, index) => ({
        ...{ bucketId: 1, offset: 0, keySize: 2 },
        dataSize: this.chance(6) ? -1 : this.#honestSize(tasks[index]?.key, tasks[index]?.tenantId),
        transportEndpoint: `disk:${owner}`,
      }),
    );
    return [owner, tasks, metadatas];
  }

  /** That of an object, mostly: of the subject unless another is named. */
  #honestSize(key = this.#subject?.key, tenant = this.#subject?.tenant): number {
    if (key === undefined || this.chance(6)) return this.#size();
    const found = this.#core.peek(key, tenant);
    const location = 'ok' in found ? found.ok.replicas[0]?.location : undefined;
    if (location?.kind === 'memory') return location.buffer.size;
    return location?.kind === 'localDisk' ? location.objectSize : this.#size();
  }

  #leasedCall(): ArgsOf<MasterProtocol['DynamicReplicaCopyEnd']> {
    const [client, key, tenant, , , id, epoch] = this.#leased;
    return [this.#one([client, client, this.client()]), key, tenant, id, epoch];
  }
}
