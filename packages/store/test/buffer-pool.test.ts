import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BufferPool, type PooledBuffer } from '../src/buffer-pool.ts';

const never = new AbortController().signal;

describe('BufferPool', () => {
  it('lends the same memory again', () => {
    const pool = new BufferPool({ byteCountMax: 1 << 20 });
    const first = pool.tryTake(300_000);
    const address = first?.bytes.buffer;
    first?.release();
    const second = pool.tryTake(310_000);
    expect(second?.bytes.buffer).toBe(address);
    expect(second?.bytes.length).toBe(310_000);
  });

  it('lets takers wait for their turn, in order', async () => {
    const pool = new BufferPool({ byteCountMax: 8_192 });
    const held = await pool.take(8_192, never);
    const order: string[] = [];
    const large = pool.take(8_192, never).then((buffer) => {
      order.push('large');
      buffer.release();
    });
    const small = pool.take(10, never).then((buffer) => {
      order.push('small');
      buffer.release();
    });
    expect(pool.tryTake(10)).toBeNull();
    held.release();
    await Promise.all([large, small]);
    expect(order).toEqual(['large', 'small']);
    pool.checkInvariants();
  });

  it('lets those behind pass when a waiting taker gives up', async () => {
    const pool = new BufferPool({ byteCountMax: 8_192 });
    const held = await pool.take(4_096, never);
    const giveUp = new AbortController();
    const large = pool.take(8_192, giveUp.signal);
    const small = pool.take(10, never);
    giveUp.abort(new Error('gone'));
    await expect(large).rejects.toThrow('gone');
    (await small).release();
    held.release();
    pool.checkInvariants();
  });

  it('refuses at once what can never fit', async () => {
    const pool = new BufferPool({ byteCountMax: 8_192 });
    await expect(pool.take(9_000, never)).rejects.toMatchObject({ code: 'TOO_LARGE' });
    expect(pool.tryTake(9_000)).toBeNull();
  });

  it('stays within its limit for any order of takes and releases', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 600_000 }), { maxLength: 80 }), (steps) => {
        const pool = new BufferPool({ byteCountMax: 1 << 20 });
        const lent: PooledBuffer[] = [];
        for (const step of steps) {
          if (step % 3 === 0) lent.shift()?.release();
          else {
            const buffer = pool.tryTake(step);
            if (buffer !== null) lent.push(buffer);
          }
          pool.checkInvariants();
        }
        for (const buffer of lent) buffer.release();
        expect(pool.lentByteCount).toBe(0);
      }),
    );
  });
});
