import { normalize } from 'node:path';
import { type Option, type OptionValues, optionTypes } from '@tsukimi/base';
import type { StorageConfig } from '@tsukimi/wire';
import { z } from 'zod';
import { type CoreOptions, defaultCoreOptions } from './core/core-options.ts';

const { count, ratio, flag } = optionTypes;
const byteCount = z.coerce.number().int().nonnegative();

/** What an operator may say about files: the directory that clients share, and clients' own disks. */
export const storageOptions = {
  rootFsDir: {
    schema: z.string().default(''),
    doc: 'A directory that all clients share, where they also keep every object; none when empty.',
  },
  clusterId: {
    schema: z.string().default('mooncake_cluster'),
    doc: "The folder of this cluster in that directory, and its name among the leader's.",
  },
  globalFileSegmentSize: {
    schema: byteCount.optional(),
    doc: 'Bytes that directory can hold, for the metrics.',
  },
  quotaBytes: {
    schema: byteCount.default(0),
    doc: 'Bytes that clients may fill there; 0: they decide by the space that is left.',
  },
  enableDiskEviction: {
    schema: flag.default(true),
    kind: 'flag',
    doc: 'Clients remove files there to make room; --noenable_disk_eviction never does.',
  },
  enableOffload: {
    schema: flag,
    kind: 'flag',
    doc: 'Lets clients lend their own disks; objects are written there as they are put.',
  },
  offloadOnEvict: {
    schema: flag,
    kind: 'flag',
    doc: 'Objects are written to disks when they are to be evicted from memory, not when they are put.',
  },
  offloadForceEvict: {
    schema: flag,
    kind: 'flag',
    doc: 'Evicts also what no disk takes in time; otherwise that stays in memory.',
  },
  offloadingQueueLimit: {
    schema: count.default(defaultCoreOptions.offloadingQueueLimit),
    doc: 'Objects at most that wait for one client to write them to its disk.',
  },
  offloadCapRatio: {
    schema: ratio.default(defaultCoreOptions.offloadCapRatio),
    doc: 'Part of that limit which one round of eviction may fill before it evicts by force.',
  },
  promotionOnHit: {
    schema: flag,
    kind: 'flag',
    doc: 'Objects that lie on a disk alone come back to memory when they are read.',
  },
  promotionAdmissionThreshold: {
    schema: count.default(defaultCoreOptions.promotionAdmissionThreshold),
    doc: 'Reads after which an object comes back, at most 255.',
  },
  promotionQueueLimit: {
    schema: count.default(defaultCoreOptions.promotionQueueLimit),
    doc: 'Objects at most that are on their way back.',
  },
  promotionMaxPerHeartbeat: {
    schema: count.default(defaultCoreOptions.promotionMaxPerHeartbeat),
    doc: 'Objects that a client is told to bring back at once.',
  },
} as const satisfies Readonly<Record<string, Option>>;

type StorageOptions = OptionValues<typeof storageOptions>;

/** What clients are told of the directory that they share. */
export function storageConfigOf(options: StorageOptions): StorageConfig {
  const { enableDiskEviction, quotaBytes } = options;
  return { fsdir: sharedDirectoryOf(options), enableDiskEviction, quotaBytes };
}

/** Without disks, nothing goes there and nothing comes back. */
export function storageRulesOf(options: StorageOptions): Partial<CoreOptions> {
  const sharedDirectory = sharedDirectoryOf(options);
  const { enableOffload, globalFileSegmentSize = Number.POSITIVE_INFINITY } = options;
  const isSizeKnown = sharedDirectory !== '' && Number.isSafeInteger(globalFileSegmentSize);
  return {
    sharedDirectory: sharedDirectory === '' ? '' : normalize(sharedDirectory),
    sharedCapacityByteCount: isSizeKnown ? globalFileSegmentSize : 0,
    enableOffload,
    offloadOnEvict: enableOffload && options.offloadOnEvict,
    offloadForceEvict: options.offloadForceEvict,
    offloadingQueueLimit: options.offloadingQueueLimit,
    offloadCapRatio: options.offloadCapRatio,
    promotionOnHit: enableOffload && options.promotionOnHit,
    promotionAdmissionThreshold: Math.min(255, options.promotionAdmissionThreshold),
    promotionQueueLimit: options.promotionQueueLimit,
    promotionMaxPerHeartbeat: options.promotionMaxPerHeartbeat,
  };
}

function sharedDirectoryOf({ rootFsDir, clusterId }: StorageOptions): string {
  return rootFsDir === '' || clusterId === '' ? '' : `${rootFsDir}/${clusterId}`;
}
