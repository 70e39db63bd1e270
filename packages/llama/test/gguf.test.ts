import { copyFile, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelDigest, readGgufHeader } from '../src/index.ts';

const modelPath = fileURLToPath(
  new URL('../../../models/tsukimi-demo-1m-q8_0.gguf', import.meta.url),
);

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsukimi-gguf-'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('readGgufHeader', () => {
  it('reads what planning needs, without the weights', async () => {
    expect(await readGgufHeader(modelPath)).toMatchObject({
      version: 3,
      architecture: 'qwen2',
      byteCount: 1_135_168,
      contextLength: 2_048,
      blockCount: 4,
      headCount: 4,
      headCountKv: 2,
      keyLength: 32,
      valueLength: 32,
      chatTemplate: true,
    });
  });

  it('names a missing file, and one that is none', async () => {
    await expect(readGgufHeader('/nowhere/m.gguf')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: expect.stringContaining('/nowhere/m.gguf') as string,
    });
    await expect(readGgufHeader(directory)).rejects.toMatchObject({ code: 'MALFORMED' });
  });

  it('refuses what is not GGUF, is cut off, or lies about its lengths', async () => {
    const path = join(directory, 'broken.gguf');
    await writeFile(path, 'PK\x03\x04 and so on');
    await expect(readGgufHeader(path)).rejects.toThrow(/does not begin with GGUF/);
    for (const byteCount of [3, 10, 23, 40, 500, 5_000]) {
      await copyFile(modelPath, path);
      await truncate(path, byteCount);
      await expect(readGgufHeader(path)).rejects.toMatchObject({ code: 'MALFORMED' });
    }
    await copyFile(modelPath, path);
    const file = await open(path, 'r+');
    await file.write(Buffer.alloc(8, 0xff), 0, 8, 24);
    await file.close();
    await expect(readGgufHeader(path)).rejects.toThrow(/ends too early/);
  });
});

describe('modelDigest', () => {
  it('is the SHA-256 of the file', async () => {
    expect(await modelDigest(modelPath)).toBe(
      'ab9ff4adf679c846276803d1e97eb4dbc3f64f78dc11f578e80515115235e5a7',
    );
  });
});
