import type { Random } from '@tsukimi/base';

const wordCount = 6;

/** 192 random bits in hexadecimal. */
export function makeAdminKey(random: Random): string {
  return Array.from({ length: wordCount }, () =>
    random.uint32().toString(16).padStart(8, '0'),
  ).join('');
}
