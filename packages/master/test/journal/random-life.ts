import { below, type SeededRandom } from '@tsukimi/base';
import type { FakeClock } from '@tsukimi/base/testing';
import type { CoreImage, ObjectImage } from '../../src/core/change-log.ts';
import type { MasterCore } from '../../src/core/master-core.ts';
import { configOf, segmentOf, uuid } from '../../src/testing.ts';

/** One random call to a small core. */
export function liveOn(core: MasterCore, clock: FakeClock, random: SeededRandom): void {
  const chance = (count: number) => below(random, count);
  const key = `k${chance(40)}`;
  const client = 1 + chance(4);
  const segment = segmentOf(client * 10 + chance(2), 500);
  switch (chance(18)) {
    case 0:
    case 1:
    case 2: {
      const config = configOf({
        replicaNum: 1 + chance(2),
        withHardPin: chance(10) === 0,
        softPinAction: chance(8) === 0 ? 1 : 0,
        groupIds: chance(8) === 0 ? [`g${chance(3)}`] : null,
      });
      if (chance(4) === 0) core.upsertStart(uuid(client), key, 1 + chance(60), config);
      else core.putStart(uuid(client), key, 1 + chance(60), config);
      return;
    }
    case 3:
    case 4:
    case 5:
    case 6:
      core.putEnd(uuid(client), key, chance(2) === 0 ? null : BigInt(chance(1_000)), 4);
      return;
    case 7:
      core.putRevoke(uuid(client), key, 4);
      return;
    case 8:
      core.remove(key, chance(2) === 0);
      return;
    case 9:
      core.mountSegment(segment, uuid(client));
      return;
    case 10:
      core.remountSegments([segment], uuid(client));
      return;
    case 11:
      if (chance(2) === 0) core.unmountSegment(segment.id, uuid(client));
      else core.clearReplicas([key], uuid(client), chance(2) === 0 ? '' : segment.name);
      return;
    case 12:
      core.unmountSegmentGracefully(segment.id, uuid(client), 2_000);
      return;
    case 13:
      if (chance(4) === 0) core.localDisks.unmount(uuid(client));
      else core.localDisks.mount(uuid(client), chance(2) === 0);
      return;
    case 14:
      core.localDisks.takeOffloads(uuid(client), chance(3) > 0);
      core.localDisks.report(uuid(client), [
        {
          ...{ tenant: 'default', key, byteCount: 1 + chance(60) },
          transportEndpoint: `disk:${client}`,
        },
      ]);
      return;
    case 15:
      core.localDisks.evict(uuid(client), key, chance(2) === 0 ? 1 : 2);
      return;
    case 16:
      clock.advance(chance(60) === 0 ? 700_000 : chance(3_000));
      for (let other = 1; other <= 3; other += 1) core.ping(uuid(other));
      core.sweep();
      core.evict();
      return;
    default:
      core.exist(key);
  }
}

/** An image as plain data, in an order of its own. */
export function plain({ mounts, disks, objects, aside }: CoreImage) {
  const byKey = (one: ObjectImage, other: ObjectImage) =>
    `${one.tenant}/${one.key}` < `${other.tenant}/${other.key}` ? -1 : 1;
  return {
    mounts: [...mounts].sort((one, other) => one.number - other.number),
    disks: [...disks].sort((one, other) => one.number - other.number),
    objects: [...objects].sort(byKey),
    aside: [...aside].sort((one, other) => one.id - other.id),
  };
}
