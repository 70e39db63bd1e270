/** Test aids: a core with time that moves when told, and requests with every field filled in. */
import { SeededRandom } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import type { ReplicaDescriptor, ReplicateConfig, Segment, Uuid } from '@tsukimi/wire';
import type { ChangeLog } from './core/change-log.ts';
import { type CoreOptions, defaultCoreOptions } from './core/core-options.ts';
import { MasterCore } from './core/master-core.ts';
import { keyMatcher } from './key-matcher.ts';

export function coreForTests(
  options: Partial<CoreOptions> = {},
  ports: { readonly changes?: ChangeLog; readonly clock?: FakeClock } = {},
): {
  readonly core: MasterCore;
  readonly clock: FakeClock;
} {
  const clock = ports.clock ?? new FakeClock();
  const random = new SeededRandom(7);
  return {
    core: new MasterCore({
      ...defaultCoreOptions,
      ...options,
      clock,
      random,
      matchKeys: keyMatcher,
      changes: ports.changes ?? null,
    }),
    clock,
  };
}

/** Where an object can be read; null when it cannot. */
export function peek(core: MasterCore, key: string): readonly ReplicaDescriptor[] | null {
  const found = core.peek(key);
  return 'ok' in found ? found.ok.replicas : null;
}

/** Does at once what a core does in steps. */
export function atOnce<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const result = steps.next();
    if (result.done === true) return result.value;
  }
}

export function uuid(number: number): Uuid {
  return `${number}-${number}` as Uuid;
}

export function segmentOf(number: number, size: number, fields: Partial<Segment> = {}): Segment {
  return {
    id: uuid(number),
    name: `host:${number}`,
    base: BigInt(number) << 40n,
    size,
    teEndpoint: `host:${number}`,
    protocol: 'tcp',
    hostId: 'host',
    ...fields,
  };
}

export function configOf(fields: Partial<ReplicateConfig> = {}): ReplicateConfig {
  return {
    replicaNum: 1,
    nofReplicaNum: 0,
    dfsReplicaNum: 0,
    softPinAction: 0,
    softPinTtlMs: null,
    withHardPin: false,
    preferredSegments: [],
    preferredSegment: '',
    preferredNofSegments: [],
    preferAllocInSameNode: false,
    dataType: 0,
    hostId: '',
    groupIds: null,
    ...fields,
  };
}
