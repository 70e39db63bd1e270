import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { Fault, FollowedFiles, SystemClock } from '../src/index.ts';

function setUp(periodMs = 3_600_000) {
  const directory = mkdtempSync(join(tmpdir(), 'tsukimi-followed-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const paths = ['one', 'two'].map((name) => join(directory, name));
  const seen: (readonly string[])[] = [];
  const flaws: string[] = [];
  const files = new FollowedFiles({
    name: 'test files',
    paths,
    clock: new SystemClock(),
    periodMs,
    byteCountMax: 100,
    onTexts: (texts) => {
      if (texts.includes('bad')) throw new Fault('INVALID_ARGUMENT', `bad ${texts.join()}`);
      seen.push(texts);
    },
    onFlaw: (message) => flaws.push(message),
  });
  onTestFinished(() => files.stop());
  const write = (at: number, text: string) => writeFileSync(paths[at] as string, text);
  return { paths, seen, flaws, files, write };
}

it('reads files together, again when one is another, and not when nothing changed', async () => {
  const { paths, seen, files, write } = setUp();
  write(0, 'a');
  write(1, 'b');
  await files.start();
  await files.look();
  writeFileSync(`${paths[1]}.new`, 'c');
  renameSync(`${paths[1]}.new`, paths[1] as string);
  await files.look();
  expect(seen).toEqual([
    ['a', 'b'],
    ['a', 'c'],
  ]);
});

it('keeps what it had, and tells a flaw once', async () => {
  const { paths, seen, flaws, files, write } = setUp();
  write(0, 'a');
  write(1, 'b');
  await files.start();
  write(1, 'bad');
  await files.look();
  await files.look();
  expect(flaws).toEqual(['bad a,bad']);
  rmSync(paths[0] as string);
  await files.look();
  await files.look();
  expect(flaws[1]).toMatch(/ENOENT/);
  write(0, 'x'.repeat(101));
  await files.look();
  expect(flaws[2]).toMatch(/more than 100 bytes/);
  write(0, 'a');
  write(1, 'b');
  await files.look();
  expect(flaws).toHaveLength(3);
  expect(seen).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ]);
});

it('looks by itself, and refuses to start with what cannot be used', async () => {
  const { seen, files, write } = setUp(1);
  await expect(files.start()).rejects.toThrow(/ENOENT/);
  write(0, 'a');
  write(1, 'b');
  await files.start();
  write(0, 'later');
  await expect.poll(() => seen.at(-1)).toEqual(['later', 'b']);
});
