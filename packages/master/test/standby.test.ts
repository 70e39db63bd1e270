import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LogValue, loadOptions, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually, FakeClock } from '@tsukimi/base/testing';
import type { LeaderBoard, MasterView } from '@tsukimi/metadata';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JournalDirectory } from '../src/journal/journal-directory.ts';
import { masterOptions } from '../src/options.ts';
import { JournalClaim } from '../src/standby/journal-claim.ts';
import { Lead } from '../src/standby/lead.ts';
import { Standby } from '../src/standby/standby.ts';
import { assembleTerm, type Term } from '../src/term.ts';
import { configOf, segmentOf, uuid } from '../src/testing.ts';

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'tsukimi-standby-'));
});
const disposals: (() => unknown)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose();
  rmSync(path, { recursive: true, force: true });
});

/** A board in memory, shared by the masters of a test, that can be away and forget. */
class Board {
  view: MasterView | null = null;
  isAway = false;
  #version = 0;

  member(): LeaderBoard {
    let held = 0;
    const answer = <T>(act: () => T): Promise<T> =>
      this.isAway ? Promise.reject(new Error('away')) : Promise.resolve(act());
    return {
      read: () => answer(() => this.view),
      campaign: (address) =>
        answer(() => {
          if (this.view !== null) return null;
          this.#version += 1;
          held = this.#version;
          this.view = { address, version: held };
          return this.view;
        }),
      renew: () => answer(() => held !== 0 && this.view?.version === held),
      resign: () =>
        answer(() => {
          if (this.view?.version === held) this.view = null;
        }).catch(() => {}),
      close: () => {},
    };
  }
}

function lead(board: LeaderBoard, claim: JournalClaim | null, clock: FakeClock, version = 1): Lead {
  const view = { address: 'a:1', version };
  const askedMs = clock.monotonicMs();
  return new Lead({
    ...{ board, view, askedMs, ttlMs: 5_000, claim, clock },
    logger: silentLogger,
  });
}

const turn = () => new Promise(setImmediate);

async function advance(clock: FakeClock, byMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < byMs; passedMs += 100) {
    clock.advance(100);
    await turn();
  }
}

describe('a lead', () => {
  it('is certain only as long as the board confirms it', async () => {
    const clock = new FakeClock();
    const board = new Board();
    const member = board.member();
    await member.campaign('a:1');
    const led = lead(member, null, clock);
    void led.keep(new AbortController().signal);
    await advance(clock, 20_000);
    expect(led.isCertain).toBe(true);
    board.isAway = true;
    await advance(clock, 3_000);
    expect(led.lost.aborted).toBe(false);
    await advance(clock, 3_000);
    expect(led.isCertain).toBe(false);
    expect(led.lost.aborted).toBe(true);
  });

  it('goes on without the board while nobody claims the journal, and is taken again when it is back', async () => {
    const clock = new FakeClock();
    const board = new Board();
    const member = board.member();
    await member.campaign('a:1');
    const claim = JournalClaim.take(path, 1);
    const led = lead(member, claim, clock);
    const stop = new AbortController();
    const kept = led.keep(stop.signal);
    board.isAway = true;
    await advance(clock, 60_000);
    expect(led.isCertain).toBe(false);
    let count = 0;
    expect(led.guard(() => (count += 1))).toBe('done');
    expect(count).toBe(1);
    // It comes back without memory.
    board.view = null;
    board.isAway = false;
    await advance(clock, 1_000);
    expect(led.isCertain).toBe(true);
    expect(led.view.version).toBe(2);
    expect(readFileSync(join(path, 'claim'), 'utf8')).toBe('2');
    stop.abort();
    await kept;
  });

  it('answers nothing more once another master has claimed the journal', async () => {
    const clock = new FakeClock();
    const board = new Board();
    const member = board.member();
    await member.campaign('a:1');
    const led = lead(member, JournalClaim.take(path, 1), clock);
    clock.advance(10_000);
    JournalClaim.take(path, 2);
    expect(led.guard(() => expect.unreachable())).toBe('lost');
    expect(led.lost.aborted).toBe(true);
    expect(led.guard(() => expect.unreachable())).toBe('lost');
  });

  it('ends when somebody else leads', async () => {
    const clock = new FakeClock();
    const board = new Board();
    const member = board.member();
    await member.campaign('a:1');
    const led = lead(member, JournalClaim.take(path, 1), clock);
    const kept = led.keep(new AbortController().signal);
    board.view = { address: 'b:2', version: 7 };
    await advance(clock, 2_000);
    await kept;
    expect(led.lost.aborted).toBe(true);
  });
});

describe('several masters', () => {
  function member(board: Board, events: string[]) {
    const clock = new SystemClock();
    const random = new SeededRandom(1);
    const argv = ['--host=127.0.0.1', '--port=0', '--metrics-port=0'];
    const options = loadOptions(masterOptions, { argv, env: {} });
    const logger = {
      ...silentLogger,
      info: (event: string, fields: Readonly<Record<string, LogValue>> = {}) => {
        if (event === 'master.leads') events.push(`leads with ${fields['objects']}`);
      },
    };
    let term: Term | null = null;
    const standby = new Standby({
      openBoard: () => Promise.resolve(board.member()),
      ...{ address: '127.0.0.1:1', ttlMs: 5_000, directory: new JournalDirectory(path) },
      ...{ journalSyncPeriodMs: 1_000, snapshotByteCount: 2 ** 20, clock, random, logger },
      assemble: (journal, gate, role) => {
        term = assembleTerm(options, { clock, random, logger, cleaner: null, journal, gate, role });
        return term;
      },
    });
    disposals.push(() => standby.stop());
    return { standby, core: () => (term as Term).core };
  }

  it('have one leader, and the next has all that it had', async () => {
    const board = new Board();
    const events: string[] = [];
    const [one, other] = [member(board, events), member(board, events)];
    await one.standby.start();
    await eventually(() => one.standby.role.state === 'serving', 'the first to lead');
    await other.standby.start();
    await eventually(() => other.standby.role.state === 'standby', 'the other to follow');
    expect(other.standby.role.leader).toEqual(one.standby.role.leader);
    const refused = await other.standby.api.request('/query_key?key=a');
    expect(refused.status).toBe(503);
    expect(await (await other.standby.api.request('/role')).text()).toBe('standby');
    expect(await (await one.standby.api.request('/ha_status')).text()).toBe('serving');
    const core = one.core();
    core.mountSegment(segmentOf(1, 100), uuid(1));
    core.putStart(uuid(9), 'a', 10, configOf());
    core.putEnd(uuid(9), 'a', null, 4);
    await one.standby.stop();
    await eventually(() => other.standby.role.state === 'serving', 'the other to lead');
    expect(events).toEqual(['leads with 0', 'leads with 1']);
    other.core().remountSegments([segmentOf(1, 100)], uuid(1));
    expect(other.core().exist('a')).toBe(true);
  });

  it('make way at once when somebody else leads', async () => {
    const board = new Board();
    const one = member(board, []);
    await one.standby.start();
    await eventually(() => one.standby.role.state === 'serving', 'it to lead');
    board.view = { address: 'b:2', version: 99 };
    await eventually(() => one.standby.role.state === 'standby', 'it to stop');
    await eventually(() => one.standby.role.leader?.address === 'b:2', 'it to know who leads');
  });
});
