import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Fault } from '@tsukimi/base';

/** SHA-256 of the file, in hex: what makes KV of these weights theirs alone. */
export async function modelDigest(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  } catch (error) {
    throw new Fault('NOT_FOUND', `the model ${path} cannot be read: ${String(error)}`, {
      cause: error,
    });
  }
  return hash.digest('hex');
}
