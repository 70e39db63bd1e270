import { describe, expect, it } from 'vitest';
import { BufferPool } from '../src/buffer-pool.ts';

describe('BufferPool', () => {
  it('lends no more buffers than its limit and uses them again', () => {
    const pool = new BufferPool(2);
    const first = pool.take(100);
    const second = pool.take(100);
    expect(pool.take(1)).toBeNull();
    first?.release();
    first?.release();
    expect(pool.take(200)?.bytes).toBe(first?.bytes);
    expect(pool.take(1)).toBeNull();
    second?.release();
    expect(pool.take(5_000_000)?.bytes.length).toBeGreaterThanOrEqual(5_000_000);
    expect(pool.take(1)).toBeNull();
  });
});
