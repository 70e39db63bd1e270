import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { below, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { DirectoryLock } from '@tsukimi/transfer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MasterCore } from '../../src/core/master-core.ts';
import { Journal, type JournalOptions } from '../../src/journal/journal.ts';
import { JournalDirectory } from '../../src/journal/journal-directory.ts';
import { type JournalFile, openJournalFile } from '../../src/journal/journal-file.ts';
import { JournalFollower } from '../../src/journal/journal-follower.ts';
import { trusted } from '../../src/journal/journal-keeper.ts';
import { coreForTests } from '../../src/testing.ts';
import { liveOn, plain } from './random-life.ts';

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'tsukimi-journal-'));
});
afterEach(() => rmSync(path, { recursive: true, force: true }));

const follow = () => new JournalFollower(new JournalDirectory(path)).finish();

/** A core that writes a journal, behind what the directory holds. */
function journaled(options: Partial<JournalOptions> = {}) {
  const directory = new JournalDirectory(path);
  const end = new JournalFollower(directory).finish();
  const journal = new Journal({
    ...{ directory, open: openJournalFile, syncPeriodMs: 1_000, snapshotByteCount: 2 ** 30 },
    ...{ bootId: 'this boot', fence: null, clock: new SystemClock(), random: new SeededRandom(5) },
    logger: silentLogger,
    ...options,
  });
  const { core, clock } = coreForTests({}, { changes: journal.changes });
  core.restore(end.image);
  journal.begin(end, () => core.image());
  return { core, clock, journal, directory };
}

/** What a gate does with an answer: resolves when it may leave. */
function answered(journal: Journal): Promise<void> {
  return new Promise((resolve) => {
    if (!journal.holdBack(resolve)) resolve();
  });
}

async function live(kit: { core: MasterCore; clock: FakeClock; journal: Journal }, seed: number) {
  const random = new SeededRandom(seed);
  const states = [plain(kit.core.image())];
  for (let step = 0; step < 400; step += 1) {
    liveOn(kit.core, kit.clock, random);
    if (step % 10 !== 0) continue;
    await answered(kit.journal);
    states.push(plain(kit.core.image()));
  }
  return states;
}

describe('a journal', () => {
  it.each([1, 2, 3, 4])(
    'gives back what was answered before the process was killed, seed %i',
    async (seed) => {
      // Three lives, each ended by a kill; nothing of the last answered state is missing.
      for (let life = 0; life < 3; life += 1) {
        const kit = journaled();
        const states = await live(kit, seed * 10 + life);
        const end = follow();
        expect(plain(end.image)).toEqual(states.at(-1));
        expect(end.tornByteCount).toBe(0);
      }
    },
  );

  it.each([1, 2, 3])('cut at any byte, is the state after some turn, seed %i', async (seed) => {
    const kit = journaled();
    const states = await live(kit, seed);
    const file = kit.directory.logPath(1);
    const whole = readFileSync(file);
    const random = new SeededRandom(seed);
    for (let cut = 0; cut < 60; cut += 1) {
      writeFileSync(file, whole.subarray(0, below(random, whole.length + 1)));
      const { image, nextGeneration } = follow();
      expect(states).toContainEqual(plain(image));
      // And it can be gone on from there.
      expect(nextGeneration).toBeLessThanOrEqual(2);
      coreForTests().core.restore(image);
    }
  });

  it('refuses damage that is not at its end, naming file and place', async () => {
    const kit = journaled();
    await live(kit, 9);
    const file = kit.directory.logPath(1);
    const whole = readFileSync(file);
    const random = new SeededRandom(9);
    for (let flip = 0; flip < 60; flip += 1) {
      const damaged = Buffer.from(whole);
      const at = 24 + below(random, whole.length / 2);
      damaged[at] = (damaged[at] as number) ^ (1 << below(random, 8));
      writeFileSync(file, damaged);
      expect(follow).toThrow(/journal-0000000001\.log is damaged at byte \d+; restore it, or move/);
    }
  });

  it('refuses a log that is missing between others', async () => {
    for (let life = 0; life < 3; life += 1) await live(journaled(), life);
    rmSync(new JournalDirectory(path).logPath(2));
    expect(follow).toThrow(/journal-0000000002\.log is damaged/);
  });

  it('ignores what a master wrote after another had taken over', async () => {
    const old = journaled();
    await live(old, 1);
    const next = journaled();
    const states = await live(next, 2);
    await live(old, 3);
    expect(plain(follow().image)).toEqual(states.at(-1));
  });

  it('is followed while it is being written, through snapshots too', async () => {
    const kit = journaled({ snapshotByteCount: 4_096 });
    const follower = new JournalFollower(kit.directory);
    const random = new SeededRandom(4);
    for (let step = 0; kit.journal.counters.snapshots < 3; step += 1) {
      liveOn(kit.core, kit.clock, random);
      if (step % 25 !== 0) continue;
      await answered(kit.journal);
      await new Promise(setImmediate);
      follower.catchUp();
      expect(plain(follower.image)).toEqual(plain(kit.core.image()));
    }
    await answered(kit.journal);
    expect(plain(follow().image)).toEqual(plain(kit.core.image()));
    expect(kit.directory.logs().length).toBeLessThan(4);
    follower.close();
    await kit.journal.stop();
  });

  it('refuses a damaged snapshot', async () => {
    const kit = journaled({ snapshotByteCount: 4_096 });
    await live(kit, 5);
    await expect.poll(() => kit.directory.snapshots().length).toBeGreaterThan(0);
    await kit.journal.stop();
    const file = kit.directory.snapshotPath(kit.directory.snapshots().at(-1) as number);
    truncateSync(file, statSync(file).size - 1);
    expect(follow).toThrow(/snapshot-\d+\.snap is damaged/);
  });

  it('is not believed after the machine went down, unless it was on the disk', async () => {
    const believed = (bootId: string) => trusted(follow(), bootId, silentLogger).last !== null;
    const first = journaled();
    await live(first, 1);
    expect(believed('this boot')).toBe(true);
    expect(believed('another boot')).toBe(false);
    await first.journal.stop();
    expect(believed('another boot')).toBe(true);
    await live(journaled({ syncPeriodMs: 0 }), 2);
    expect(believed('another boot')).toBe(true);
  });

  it('holds answers back until their changes are on the disk, if asked to', async () => {
    let synced: (() => void) | null = null;
    const order: string[] = [];
    const open = (file: string): JournalFile => ({
      ...openJournalFile(file),
      sync: () =>
        new Promise((resolve) => {
          synced = resolve;
        }),
    });
    const { core, journal } = journaled({ syncPeriodMs: 0, open });
    const random = new SeededRandom(1);
    while (journal.counters.batches === 0) {
      liveOn(core, new FakeClock(), random);
      if (journal.holdBack(() => order.push('answer'))) await new Promise(setImmediate);
    }
    await new Promise(setImmediate);
    expect(order).toEqual([]);
    (synced as (() => void) | null)?.();
    await expect.poll(() => order.length).toBeGreaterThan(0);
  });

  it('goes on without itself while the disk is full, and begins anew when there is room', async () => {
    let isFull = false;
    const open = (file: string): JournalFile => {
      const real = openJournalFile(file);
      return {
        ...real,
        append(bytes) {
          if (isFull) throw new Error('ENOSPC: no space left on device');
          real.append(bytes);
        },
      };
    };
    const clock = new FakeClock();
    const kit = journaled({ open, clock });
    await live(kit, 1);
    isFull = true;
    await live(kit, 2);
    expect(kit.journal.isWhole).toBe(false);
    expect(kit.journal.counters.failures).toBe(1);
    // A restart now must find nothing rather than what is not true any more.
    expect([...follow().image.objects]).toEqual([]);
    clock.advance(5_000);
    expect(kit.journal.counters.failures).toBe(2);
    isFull = false;
    clock.advance(5_000);
    await expect
      .poll(() => {
        clock.advance(2);
        return kit.journal.isWhole;
      })
      .toBe(true);
    const states = await live(kit, 3);
    expect(plain(follow().image)).toEqual(states.at(-1));
  });

  it('is locked against a second master', () => {
    const lock = DirectoryLock.take(path, '--journal-dir');
    expect(() => DirectoryLock.take(path, '--journal-dir')).toThrow(
      /--journal-dir: .* is in use by another process/,
    );
    lock.release();
    DirectoryLock.take(path, '--journal-dir').release();
  });

  it('takes nothing that a client may have written into a key for a batch', async () => {
    const kit = journaled();
    const states = await live(kit, 1);
    const file = kit.directory.logPath(1);
    const batch = readFileSync(file).subarray(24, 24 + 28 + 60);
    // The head of a batch of another file, whose tag is another.
    batch.writeUInt32LE((batch.readUInt32LE(24) ^ 0x5a5a) >>> 0, 24);
    appendFileSync(file, batch);
    expect(plain(follow().image)).toEqual(states.at(-1));
  });
});
