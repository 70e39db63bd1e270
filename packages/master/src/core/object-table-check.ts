import { assert } from '@tsukimi/base';
import type { ObjectTable } from './object-table.ts';
import {
  heldBy,
  inFiles,
  inMemory,
  isEvictable,
  type MemoryReplica,
  type Replica,
} from './replica.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StoredObject } from './stored-object.ts';

/** Looks at every object, replica and block: each belongs to exactly one other. */
export function checkTable(
  objects: ObjectTable,
  segments: SegmentTable,
  setAside: Iterable<MemoryReplica>,
): void {
  const blocks = new Set<Replica>(setAside);
  for (const { object } of blocks) assert(object === null, 'what is set aside has no object');
  let count = 0;
  let inMemoryCount = 0;
  let inFilesCount = 0;
  for (const tenant of objects.tenants.all()) {
    tenant.objects.checkInvariants();
    count += tenant.objects.count;
    for (const group of tenant.groups.values()) {
      assert(group.members.size > 0, 'no group is empty');
    }
    let chargedByteCount = 0;
    for (const object of tenant.objects.values()) {
      assert(object.tenant === tenant, 'an object has its tenant');
      assert(tenant.objects.get(object.key) === object, 'an object has its key');
      checkObject(objects, object);
      if ((object.held & inMemory) !== 0) inMemoryCount += 1;
      if ((object.held & inFiles) !== 0) inFilesCount += 1;
      for (const replica of object.replicas) {
        if (replica.kind !== 'memory') continue;
        blocks.add(replica);
        chargedByteCount += replica.block.byteCount;
      }
    }
    assert(chargedByteCount === tenant.chargedByteCount, 'what a tenant has is counted');
  }
  assert(count === objects.count, 'objects are counted');
  assert(inMemoryCount === objects.inMemoryCount, 'objects in memory are counted');
  assert(inFilesCount === objects.inFilesCount, 'objects in files are counted');
  let heldCount = 0;
  for (const segment of segments.all()) {
    for (const replica of segment.allocator.holders()) {
      assert(blocks.has(replica), 'each used block belongs to an object or is set aside');
      heldCount += 1;
    }
  }
  assert(heldCount === blocks.size, 'each replica in memory has its block');
}

function checkObject(objects: ObjectTable, object: StoredObject): void {
  assert(object.list !== null, 'an object is in a list');
  assert(object.group?.members.has(object) !== false, 'a group knows its members');
  assert(object.held === heldBy(object.replicas), 'an object knows where it lies');
  const isReadable = object.held !== 0;
  assert(isReadable !== objects.isUnfinished(object), 'what can be read is not unfinished');
  assert(object.trailing === null || isReadable, 'a trailing write has something to read');
  if (object.replicas.some(isEvictable)) {
    assert(object.list !== objects.order.resting, 'what can be evicted is in the order');
  }
  const places = object.replicas.map((replica) => {
    assert(replica.object === object, 'a replica knows its object');
    assert(replica.busyCount >= 0, 'nobody is done twice');
    switch (replica.kind) {
      case 'memory':
        assert(replica.block.byteCount === object.byteCount, 'a replica is as long as its object');
        return replica.segment;
      case 'localDisk':
        return replica.disk;
      case 'disk':
        return replica.kind;
    }
  });
  assert(places.length > 0, 'an object has a replica');
  assert(new Set(places).size === places.length, 'replicas lie in different places');
}
