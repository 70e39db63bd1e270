/**
 * The layouts of each release of Mooncake, as differences to the release after it. All tables have the
 * same names and speak of the same values, those of the current release; what a release cannot
 * express is mapped as said here.
 *
 * A caller's value that the layout lacks is dropped where it is a wish (pins, hosts, groups, kinds
 * of replicas, checksums), and refused where it would change what is meant (tenants).
 */
import { Fault } from '@tsukimi/base';
import { absent, altered, bool, type Codec, i64, list, map, mapped } from './codec.ts';
import {
  type MasterProtocol,
  masterCalls,
  masterClass,
  masterProtocol,
} from './master-protocol.ts';
import { objectKey, ReplicaType, SoftPinAction, tenantId } from './messages/objects.ts';
import { answersIn } from './messages/older-answers.ts';
import { currentParts, type MessageParts } from './messages/parts.ts';
import type { DiskTaskItem } from './messages/tasks.ts';
import { functionIdOf, type Method } from './protocol.ts';

/** Oldest first; each stands for the later posts of the same layouts. */
export const masterReleases = [
  '0.3.9',
  '0.3.10',
  '0.3.10.post2',
  '0.3.11',
  '0.3.12',
  '0.3.13',
  '0.3.14',
] as const;
export type MasterRelease = (typeof masterReleases)[number];

/** Calls of one release, without those that it lacks. */
export type ReleaseProtocol = Partial<MasterProtocol>;

/** The release whose layouts that of `name` speaks, such as 0.3.12 for 0.3.12.post1; null for others. */
export function parseRelease(name: string): MasterRelease | null {
  const known = masterReleases.find((release) => release === name);
  if (known !== undefined) return known;
  if (name === '0.3.10.post1') return '0.3.10';
  const base = /^(0\.3\.1[1-9])\.post\d+$/.exec(name)?.[1];
  return masterReleases.find((release) => release === base) ?? null;
}

const defaultTenant = 'default';

/** Tenants are later than this layout: everything is the default tenant's. */
const withoutTenants: Codec<string> = {
  ...absent(defaultTenant),
  write(_out, tenant) {
    if (tenant === '' || tenant === defaultTenant) return;
    const message = `tenant "${tenant}": this master's release knows no tenants; use "default", or a newer master`;
    throw new Fault('UNSUPPORTED', message);
  },
};

/** One flag, before a pin could also be preserved: not set says nothing. */
const softPinFlag = mapped<number, boolean>(
  bool,
  (action) => action === SoftPinAction.ENABLE,
  (isSet) => (isSet ? SoftPinAction.ENABLE : SoftPinAction.PRESERVE),
);

/** Objects by key and size, of the default tenant: a client cannot be told of others. */
const sizeByKey = mapped<readonly DiskTaskItem[], readonly (readonly [string, number])[]>(
  map(objectKey, i64),
  (tasks) => tasks.filter(isOfDefaultTenant).map(({ key, size }) => [key, size]),
  (sizes) => sizes.map(([key, size]) => ({ tenantId: defaultTenant, key, size })),
);

/** Keys alone; the sizes are in the call's next argument. */
const offloadedKeys = mapped<readonly DiskTaskItem[], readonly string[]>(
  list(objectKey),
  (tasks) => tasks.map(({ key }) => key),
  (keys) => keys.map((key) => ({ tenantId: defaultTenant, key, size: 0 })),
);

const parts0314: MessageParts = { ...currentParts, clearTenantId: tenantId };

const parts0313: MessageParts = currentParts;

const parts0312: MessageParts = {
  ...parts0313,
  answers: answersIn(['memory', 'nof', 'disk', 'localDisk']),
  replicateConfig: altered(parts0313.replicateConfig, {
    dfsReplicaNum: absent(0),
    softPinAction: softPinFlag,
    softPinTtlMs: absent(null),
  }),
  objectMeta: mapped(
    objectKey,
    ({ key }) => key,
    (key) => ({ key, objectChecksum: null }),
  ),
};

const parts0311: MessageParts = {
  ...parts0312,
  tenantId: withoutTenants,
  clearTenantId: withoutTenants,
  segment: altered(parts0312.segment, { hostId: absent('') }),
  replicateConfig: altered(parts0312.replicateConfig, {
    hostId: absent(''),
    groupIds: absent(null),
  }),
  diskTasks: sizeByKey,
  offloaded: offloadedKeys,
};

const parts0310post2: MessageParts = {
  ...parts0311,
  answers: answersIn(['memory', 'disk', 'localDisk']),
  replicateConfig: altered(parts0311.replicateConfig, {
    nofReplicaNum: absent(0),
    preferredNofSegments: absent([]),
    dataType: absent(0),
  }),
  batchReplicaType: absent<number>(ReplicaType.MEMORY),
};

const parts0310: MessageParts = {
  ...parts0310post2,
  replicateConfig: altered(parts0310post2.replicateConfig, { withHardPin: absent(false) }),
};

const parts039: MessageParts = {
  ...parts0310,
  taskAssignment: altered(parts0310.taskAssignment, { maxRetryAttempts: absent(0) }),
};

const partsOf: Readonly<Record<MasterRelease, MessageParts>> = {
  '0.3.14': parts0314,
  '0.3.13': parts0313,
  '0.3.12': parts0312,
  '0.3.11': parts0311,
  '0.3.10.post2': parts0310post2,
  '0.3.10': parts0310,
  '0.3.9': parts039,
};

/** The calls that came with a release. `PollRemoveAll` came with 0.3.12.post1. */
const callsSince: Readonly<Record<MasterRelease, readonly (keyof MasterProtocol)[]>> = {
  '0.3.14': [
    'ProbeKey',
    'BatchProbeKey',
    'GetReplicaListForAdmin',
    'BatchGetReplicaListForAdmin',
    'RegisterPrefetchTask',
  ],
  '0.3.13': [
    'UnmountLocalDiskSegment',
    'DynamicReplicaCopyStart',
    'DynamicReplicaCopyEnd',
    'DynamicReplicaCopyRevoke',
  ],
  '0.3.12': ['PollRemoveAll'],
  '0.3.11': [
    'MountNoFSegment',
    'ReMountNoFSegment',
    'GracefulUnmountSegment',
    'UnmountNoFSegment',
    'GetAllNoFSegments',
    'GetNoFSegmentsByName',
    'QuerySegmentStatus',
    'QuerySegmentStatusById',
    'ReportSsdCapacity',
    'PromotionObjectHeartbeat',
    'PromotionAllocStart',
    'NotifyPromotionSuccess',
    'NotifyPromotionFailure',
  ],
  '0.3.10.post2': [
    'UpsertStart',
    'UpsertEnd',
    'UpsertRevoke',
    'BatchUpsertStart',
    'BatchUpsertEnd',
    'BatchUpsertRevoke',
    'BatchRemove',
    'BatchEvictDiskReplica',
  ],
  '0.3.10': ['EvictDiskReplica'],
  '0.3.9': [],
};

const protocols = new Map<MasterRelease, ReleaseProtocol>();

/** The calls of a release in its layouts. Where these are the current ones, so are the objects. */
export function protocolOf(release: MasterRelease): ReleaseProtocol {
  const made = protocols.get(release);
  if (made !== undefined) return made;
  const at = masterReleases.indexOf(release);
  const lacking = new Set(masterReleases.slice(at + 1).flatMap((later) => callsSince[later]));
  const calls = Object.entries(masterCalls(partsOf[release]))
    .filter(([name]) => !lacking.has(name as keyof MasterProtocol))
    .map(([name, method]) => [name, sharedIfSame(name as keyof MasterProtocol, method)]);
  const protocol = Object.fromEntries(calls) as ReleaseProtocol;
  protocols.set(release, protocol);
  return protocol;
}

type AnyMethod = Method<any, any>;

function sharedIfSame(name: keyof MasterProtocol, method: AnyMethod): AnyMethod {
  const current: AnyMethod = masterProtocol[name];
  const isSame =
    current.request?.code === method.request?.code &&
    current.response.code === method.response.code;
  return isSame ? current : method;
}

/** Calls of 0.3.14 that we do not have; what to say of each, by function id. */
export const unsupportedCalls: ReadonlyMap<number, string> = new Map(
  [
    'EvictDiskReplicaIfCurrent',
    'BeginWeightImport',
    'CommitWeightImport',
    'AbortWeightImport',
    'AcquireWeightRevisionLease',
    'RenewWeightRevisionLease',
    'ReleaseWeightRevisionLease',
    'GetWeightRevision',
    'ListWeightRevisions',
    'DeleteWeightRevision',
    'QueryWeightOperation',
    'StartWeightResidencyOperation',
  ].map((name) => [functionIdOf(masterClass, name), `${name} is not supported by this master`]),
);

function isOfDefaultTenant(task: DiskTaskItem): boolean {
  return task.tenantId === defaultTenant;
}
