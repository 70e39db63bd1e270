import { describe, it } from 'vitest';
import type { CoreOptions } from '../../src/core/core-options.ts';
import { HostileLife } from './hostile-life.ts';

const disks = { enableOffload: true, promotionOnHit: true, promotionAdmissionThreshold: 1 };
const masters: Readonly<Record<string, Partial<CoreOptions>>> = {
  'without options': {},
  'with disks': disks,
  'with disks for what is evicted': { ...disks, offloadOnEvict: true, offloadingQueueLimit: 4 },
  'with forced eviction': { ...disks, offloadOnEvict: true, offloadForceEvict: true },
  'with copies of hot objects': {
    ...{ dynamicReplicationMode: 'enforce', hotReadsPerSecond: 0.1, hotReplicaCountMax: 3 },
    ...{ allocationStrategy: 'local_first', clientSuspicionTtlMs: 4_000 },
  },
  'with tenants': { ...disks, isMultiTenant: true, allocationStrategy: 'free_ratio_first' },
  'with shared files': { ...disks, sharedDirectory: '/shared', remountRestMs: 2_000 },
  'with little': {
    objectCountMax: 6,
    segmentCountMax: 3,
    clientCountMax: 3,
    taskPendingCountMax: 2,
  },
};
const firstSeed = Number(process.env['FUZZ_SEED'] ?? 1);
const seedCount = Number(process.env['FUZZ_SEEDS'] ?? 2);
const stepCount = Number(process.env['FUZZ_STEPS'] ?? 1_500);

describe('MasterCore', { timeout: 600_000 }, () => {
  it.each(Object.entries(masters))('keeps its promises whatever is called, %s', (_, options) => {
    for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
      const life = new HostileLife(options, seed);
      for (let step = 0; step < stepCount; step += 1) {
        try {
          life.step();
        } catch (error) {
          throw new Error(`seed ${seed}, step ${step}`, { cause: error });
        }
      }
    }
  });
});
