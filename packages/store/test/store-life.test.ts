import { SeededRandom, silentLogger } from '@tsukimi/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LifeOutcome, StoreLife } from '../src/core/store-life.ts';

const done: LifeOutcome = { kind: 'done' };
const needRemount: LifeOutcome = { kind: 'need-remount' };
const unreachable: LifeOutcome = { kind: 'unreachable', reason: 'connection refused' };
const refused: LifeOutcome = { kind: 'refused', reason: 'error -600' };

function newLife(hasSegment: boolean): StoreLife {
  return new StoreLife({
    hasSegment,
    pingPeriodMs: 1_000,
    backoffMinMs: 100,
    backoffMaxMs: 2_000,
    random: new SeededRandom(7),
    logger: silentLogger,
  });
}

/** Plays outcomes against the acts that are expected to ask for them. */
function play(life: StoreLife, script: readonly (readonly [string, LifeOutcome])[]): void {
  for (const [act, outcome] of script) {
    const step = life.next();
    expect(step.act).toBe(act);
    life.settle(step, outcome);
    life.checkInvariants();
  }
}

describe('StoreLife', () => {
  it('greets, mounts, and re-mounts as the first ping asks', () => {
    const life = newLife(true);
    life.start();
    expect(life.reachable).toBe(false);
    play(life, [
      ['greet', done],
      ['mount', done],
      ['ping', needRemount],
      ['remount', done],
      ['ping', done],
    ]);
    expect(life.state.kind).toBe('serving');
    expect(life.next()).toMatchObject({ act: 'ping', delayMs: 1_000 });
  });

  it('mounts again by itself after a restart of the master', () => {
    const life = newLife(true);
    life.start();
    play(life, [
      ['greet', done],
      ['mount', done],
      ['ping', done],
      ['ping', unreachable],
    ]);
    expect(life.reachable).toBe(false);
    play(life, [
      ['greet', unreachable],
      ['greet', done],
      ['ping', needRemount],
      ['remount', done],
      ['ping', done],
    ]);
    expect(life.reachable).toBe(true);
  });

  it('only greets without a segment', () => {
    const life = newLife(false);
    life.start();
    play(life, [
      ['greet', done],
      ['greet', done],
    ]);
    expect(life.state.kind).toBe('serving');
    life.stop();
    expect(life.next().act).toBe('end');
  });

  it('backs off up to a limit, never two clients in step', () => {
    const life = newLife(true);
    life.start();
    const delaysMs: number[] = [];
    for (let attempt = 0; attempt < 12; attempt++) {
      life.settle(life.next(), unreachable);
      delaysMs.push(life.next().delayMs);
    }
    expect(delaysMs[0]).toBeGreaterThanOrEqual(50);
    expect(Math.max(...delaysMs)).toBeLessThanOrEqual(2_000);
    expect(delaysMs.at(-1)).toBeGreaterThanOrEqual(1_000);
    expect(new Set(delaysMs).size).toBe(delaysMs.length);
  });

  it('stays reachable while the master refuses the segment, and does not spin', () => {
    const life = newLife(true);
    life.start();
    play(life, [
      ['greet', done],
      ['mount', refused],
    ]);
    expect(life.reachable).toBe(true);
    expect(life.next().delayMs).toBeGreaterThan(0);
    play(life, [
      ['greet', done],
      ['mount', done],
      ['ping', needRemount],
      ['remount', done],
      ['ping', needRemount],
    ]);
    expect(life.state.kind).toBe('refused');
    expect(life.next().delayMs).toBeGreaterThan(0);
  });

  it('ignores the outcome of a step that was overtaken', () => {
    const life = newLife(true);
    life.start();
    play(life, [
      ['greet', done],
      ['mount', done],
      ['ping', done],
    ]);
    const ping = life.next();
    life.lostContact('connection reset');
    life.settle(ping, done);
    expect(life.reachable).toBe(false);
  });

  it('unmounts when it stops only where something is mounted at a master that answers', () => {
    const mounted = newLife(true);
    mounted.start();
    play(mounted, [
      ['greet', done],
      ['mount', done],
    ]);
    mounted.stop();
    play(mounted, [['unmount', unreachable]]);
    expect(mounted.next().act).toBe('end');

    const lost = newLife(true);
    lost.start();
    play(lost, [
      ['greet', done],
      ['mount', done],
      ['ping', unreachable],
    ]);
    lost.stop();
    expect(lost.next().act).toBe('end');
  });

  it('keeps its invariants whatever happens', () => {
    const event = fc.constantFrom(done, needRemount, refused, unreachable, 'lost', 'stop');
    fc.assert(
      fc.property(fc.boolean(), fc.array(event, { maxLength: 60 }), (hasSegment, events) => {
        const life = newLife(hasSegment);
        life.start();
        for (const happened of events) {
          if (happened === 'lost') life.lostContact('lost');
          else if (happened === 'stop') life.stop();
          else {
            const step = life.next();
            if (step.act === 'end') return;
            life.settle(step, happened as LifeOutcome);
          }
          life.checkInvariants();
        }
      }),
    );
  });

  it('pings once it lends, after a re-mount, and greets again when it lends no more', () => {
    const life = newLife(false);
    life.start();
    play(life, [['greet', done]]);
    expect(life.next()).toMatchObject({ act: 'greet', delayMs: 1_000 });
    expect(life.lending(true)).toBe(true);
    expect(life.lending(true)).toBe(false);
    play(life, [
      ['ping', needRemount],
      ['remount', done],
      ['ping', done],
      ['ping', done],
    ]);
    expect(life.lending(false)).toBe(true);
    expect(life.next()).toMatchObject({ act: 'greet', delayMs: 1_000 });
    life.stop();
    expect(life.next().act).toBe('end');
  });

  it('mounts what was lent while the master was away', () => {
    const life = newLife(false);
    life.start();
    expect(life.lending(true)).toBe(false);
    play(life, [
      ['greet', done],
      ['mount', done],
      ['ping', needRemount],
      ['remount', done],
      ['ping', done],
    ]);
    life.stop();
    expect(life.next().act).toBe('unmount');
  });
});
