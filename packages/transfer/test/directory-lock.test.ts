import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryLock } from '../src/index.ts';

describe('DirectoryLock', () => {
  let parent: string;
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'tsukimi-lock-'));
  });
  afterEach(() => rmSync(parent, { recursive: true }));

  it('belongs to one holder at a time, whose directory it makes', () => {
    const directory = join(parent, 'a', 'b');
    const lock = DirectoryLock.take(directory, '--data-dir');
    const again = () => DirectoryLock.take(directory, '--data-dir');
    expect(again).toThrow(expect.objectContaining({ code: 'MISCONFIGURED' }));
    expect(again).toThrow(`--data-dir: ${directory} is in use by another process`);
    expect(DirectoryLock.tryTake(directory)).toBeNull();
    lock.release();
    DirectoryLock.take(directory, '--data-dir').release();
  });

  it('says which directory cannot be used, and why', () => {
    const file = join(parent, 'file');
    writeFileSync(file, '');
    const take = () => DirectoryLock.take(join(file, 'x'), '--data-dir');
    expect(take).toThrow(`--data-dir: ${file}/x cannot be used (ENOTDIR)`);
    expect(() => DirectoryLock.tryTake(join(parent, 'absent'))).toThrow('ENOENT');
  });
});
