import { describe, expect, it } from 'vitest';
import { UseGuard } from '../src/koffi/guard.ts';

describe('UseGuard', () => {
  it('frees only after the call in flight, once, and lets nothing in after that', async () => {
    const guard = new UseGuard('memory');
    let freed = 0;
    let finish = () => {};
    const call = guard.use(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    expect(() => guard.check()).toThrow(/memory is open and idle, not in use/);
    const closing = guard.close(() => freed++);
    await Promise.resolve();
    expect(freed).toBe(0);
    await expect(guard.use(async () => {})).rejects.toThrow(/closing/);
    finish();
    await Promise.all([call, closing, guard.close(() => freed++)]);
    expect(freed).toBe(1);
    expect(() => guard.check()).toThrow(/closed/);
  });

  it('is free again after a call that failed', async () => {
    const guard = new UseGuard('memory');
    await expect(guard.use(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    guard.check();
    await expect(guard.use(async () => 7)).resolves.toBe(7);
  });
});
