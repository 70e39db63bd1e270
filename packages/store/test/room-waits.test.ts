import { describe, expect, it } from 'vitest';
import { RoomWaits } from '../src/core/room-waits.ts';

describe('RoomWaits', () => {
  it('asks for room at times that double, and for the rest at once', () => {
    const waits = new RoomWaits();
    expect(waits.isDue(0, 0)).toBe(true);
    expect(waits.delayMs([0], 0)).toBeNull();
    waits.wait(0, 1_000);
    expect([waits.isDue(0, 1_049), waits.isDue(0, 1_050)]).toEqual([false, true]);
    waits.wait(0, 1_050);
    expect(waits.delayMs([0], 1_060)).toBe(90);
    waits.wait(1, 1_060);
    expect(waits.delayMs([0, 1], 1_060)).toBe(50);
    expect(waits.delayMs([0, 1, 2], 1_060)).toBeNull();
    expect(waits.delayMs([0, 1], 2_000)).toBe(0);
  });
});
