import { below, SeededRandom } from '@tsukimi/base';
import { describe, expect, it } from 'vitest';
import { type Bucket, DiskIndex, type NewObject } from '../src/core/disk-index.ts';

const objectsOf = (keys: readonly string[]): NewObject[] =>
  keys.map((key, at) => ({ key, offset: at * 10, byteCount: 10, crc: at }));

function write(index: DiskIndex, byteCount: number, keys: readonly string[], nowMs = 0) {
  const room = index.reserve(byteCount, nowMs);
  if (room === null) return null;
  return { room, emptied: index.fill(room, objectsOf(keys)) };
}

describe('DiskIndex', () => {
  it('fills the directory that is emptiest', () => {
    const index = new DiskIndex({ capacities: [100, 200], policy: 'lru' });
    const directories = [1, 2, 3].map((at) => write(index, 50, [`k${at}`])?.room.directory);
    expect(directories).toEqual([0, 1, 1]);
  });

  it('lets leave what was read longest ago, or what was written first', () => {
    for (const policy of ['lru', 'fifo'] as const) {
      const index = new DiskIndex({ capacities: [100], policy });
      write(index, 50, ['first']);
      write(index, 50, ['second']);
      const first = index.find('first');
      if (first !== null) index.touch(first);
      write(index, 50, ['third']);
      expect(index.find('first') !== null, policy).toBe(policy === 'lru');
      expect(index.find('second') !== null, policy).toBe(policy === 'fifo');
    }
  });

  it('takes no more than a disk turned out to hold, until it may be tried again', () => {
    const index = new DiskIndex({ capacities: [1_000], policy: 'lru' });
    write(index, 300, ['a']);
    const room = index.reserve(300, 0);
    if (room === null) throw new Error('there is room');
    index.giveBack(room, 'full', 0);
    expect(index.isWritable(0)).toBe(false);
    expect(index.reserve(100, 500)).toBeNull();
    expect(index.reserve(400, 2_000)).toBeNull();
    const smaller = index.reserve(200, 2_000);
    expect(smaller?.victims.length).toBe(1);
    expect(index.reserve(400, 20_000)).not.toBeNull();
    index.checkInvariants();
  });

  it('rests longer after each failure in a row', () => {
    const index = new DiskIndex({ capacities: [1_000], policy: 'lru' });
    index.failed(0, 'broken', 0);
    expect([index.isWritable(999), index.isWritable(1_000)]).toEqual([false, true]);
    index.failed(0, 'broken', 1_000);
    expect([index.isWritable(2_999), index.isWritable(3_000)]).toEqual([false, true]);
    write(index, 10, ['a'], 3_000);
    index.failed(0, 'broken', 3_000);
    expect(index.isWritable(4_000)).toBe(true);
  });

  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'finds what a plain map finds, seed %i',
    (seed) => {
      const random = new SeededRandom(seed);
      const capacities = [500, 300];
      const index = new DiskIndex({ capacities, policy: seed % 2 === 0 ? 'lru' : 'fifo' });
      const model = new Map<string, number>();
      const forget = (bucket: Bucket) => {
        for (const [key, id] of model) if (id === bucket.id) model.delete(key);
      };
      for (let step = 0; step < 400; step++) {
        const key = `k${below(random, 30)}`;
        switch (below(random, 6)) {
          case 0:
          case 1: {
            const keys = [...new Set([key, `k${below(random, 30)}`])];
            const room = index.reserve(20 + below(random, 200), step * 100);
            if (room === null) break;
            room.victims.forEach(forget);
            if (below(random, 8) === 0) {
              index.giveBack(room, below(random, 2) === 0 ? 'full' : 'broken', step * 100);
              break;
            }
            const emptied = index.fill(room, objectsOf(keys));
            for (const each of keys) model.set(each, room.bucketId);
            expect(emptied.every(({ id }) => ![...model.values()].includes(id))).toBe(true);
            break;
          }
          case 2: {
            const emptied = index.remove(key);
            const id = model.get(key);
            model.delete(key);
            const isEmptied = id !== undefined && ![...model.values()].includes(id);
            expect(emptied?.id ?? null).toBe(isEmptied ? id : null);
            break;
          }
          case 3: {
            const object = index.find(key);
            if (object !== null) index.touch(object);
            break;
          }
          default:
            if (below(random, 100) > 0) break;
            index.clear().forEach(forget);
            expect(model.size).toBe(0);
        }
        index.checkInvariants();
        expect(index.objectCount).toBe(model.size);
        expect(index.find(key)?.bucket.id).toBe(model.get(key));
      }
    },
  );
});
