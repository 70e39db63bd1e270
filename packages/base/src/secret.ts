import { createHash, timingSafeEqual } from 'node:crypto';

/** SHA-256 of a key: what is kept in place of it, and what keys are compared by. */
export function secretDigest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** Takes the same time wherever the two differ, and whatever their lengths. */
export function sameSecret(one: string, other: string): boolean {
  return timingSafeEqual(secretDigest(one), secretDigest(other));
}
