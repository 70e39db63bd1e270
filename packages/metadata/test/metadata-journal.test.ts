import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@tsukimi/base';
import { FakeClock } from '@tsukimi/base/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MetadataServer } from '../src/index.ts';
import { MetadataJournal } from '../src/metadata-journal.ts';

const limits = { keyBytesMax: 4_096, keyCountMax: 100_000, totalBytesMax: 2 ** 28 };

let directory: string;
let path: string;
let clock: FakeClock;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsukimi-journal-'));
  path = join(directory, 'metadata.journal');
  clock = new FakeClock();
});
const opened: MetadataJournal[] = [];
afterEach(async () => {
  for (const journal of opened.splice(0)) await journal.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A run of a server, as far as the journal sees it. */
async function open(where = directory) {
  const values = new Map<string, Buffer>();
  const journal = new MetadataJournal({
    directory: where,
    limits,
    clock,
    logger: silentLogger,
    entries: () => values.entries(),
  });
  opened.push(journal);
  journal.replay((key, value) => {
    if (value === null) values.delete(key);
    else values.set(key, value);
  });
  await journal.start();
  return {
    values,
    put: (key: string, value: string | Buffer) => {
      values.set(key, Buffer.from(value));
      return journal.append(key, Buffer.from(value));
    },
    remove: (key: string) => {
      values.delete(key);
      return journal.append(key, null);
    },
    close: () => journal.close(),
  };
}

const texts = (values: ReadonlyMap<string, Buffer>) =>
  Object.fromEntries([...values].map(([key, value]) => [key, value.toString()]));

describe('metadata journal', () => {
  it('gives back what was confirmed, also after a crash in the middle of a record', async () => {
    const first = await open();
    await Promise.all([first.put('a', '1'), first.put('b', '2'), first.put('月', '')]);
    await first.remove('b');
    await first.put('a', '3');
    // No close: the process was killed, while it wrote.
    writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.from([1, 2, 3, 4, 9])]));
    const second = await open();
    expect(texts(second.values)).toEqual({ a: '3', 月: '' });
    await second.put('c', '4');
    await second.close();
    await first.close();
    expect(texts((await open()).values)).toEqual({ a: '3', 月: '', c: '4' });
  });

  it('trusts nothing from the first damaged byte on', async () => {
    const first = await open();
    await first.put('a', '1');
    const intactByteCount = statSync(path).size;
    await first.put('b', '2');
    await first.put('c', '3');
    await first.close();
    const whole = readFileSync(path);
    for (let offset = intactByteCount; offset < whole.length; offset += 1) {
      const damaged = Buffer.from(whole);
      damaged[offset] = (damaged[offset] as number) ^ 0x40;
      writeFileSync(path, damaged);
      const second = await open();
      const seen = texts(second.values);
      expect(seen['a']).toBe('1');
      expect([undefined, '2']).toContain(seen['b']);
      expect([undefined, '3']).toContain(seen['c']);
      expect(Object.keys(seen).every((key) => ['a', 'b', 'c'].includes(key))).toBe(true);
      expect(Object.keys(seen).length).toBeLessThan(3);
      await second.close();
    }
  });

  it('stays as long as what it says, not as long as what was written', async () => {
    const journal = await open();
    const value = Buffer.alloc(100_000, 7);
    for (let round = 0; round < 60; round += 1) await journal.put(`key-${round % 3}`, value);
    expect(statSync(path).size).toBeLessThan(1_500_000);
    await journal.close();
    expect((await open()).values.size).toBe(3);
  });

  it('serves on without a disk, and writes everything once it is back', async () => {
    const below = join(directory, 'below');
    const journal = await open(below);
    await journal.put('a', '1');
    // A folder in the place of the next file: it cannot be created, whoever asks.
    rmSync(below, { recursive: true });
    writeFileSync(below, '');
    for (let round = 0; round < 12; round += 1) await journal.put('big', Buffer.alloc(200_000));
    rmSync(below);
    mkdirSync(below);
    clock.advance(1_001);
    await journal.put('b', '2');
    await journal.close();
    expect([...(await open(below)).values.keys()]).toEqual(['a', 'big', 'b']);
  });

  it('writes everything once a full disk has room, which its own old file may take', async (context) => {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', directory], {
        stdio: 'ignore',
      });
    } catch {
      context.skip('no file system may be mounted here');
    }
    try {
      const journal = await open();
      await journal.put('a', '1');
      for (let at = 0; at < 12; at += 1) await journal.put(`big-${at}`, Buffer.alloc(30_000));
      for (let at = 0; at < 12; at += 1) await journal.remove(`big-${at}`);
      // No other change comes.
      clock.advance(1_001);
      await expect.poll(() => readFileSync(path).length).toBeLessThan(100);
      await journal.close();
      expect(texts((await open()).values)).toEqual({ a: '1' });
      for (const each of opened) await each.close();
    } finally {
      execFileSync('umount', [directory]);
    }
  });

  it('refuses a file that is something else, and a folder that cannot be', async () => {
    writeFileSync(path, 'my diary');
    await expect(open()).rejects.toMatchObject({ code: 'MISCONFIGURED' });
    expect(readFileSync(path, 'utf8')).toBe('my diary');
    await expect(open(join(path, 'below'))).rejects.toMatchObject({ code: 'MISCONFIGURED' });
  });
});

describe('metadata server with a data directory', () => {
  it('has forgotten nothing after a restart', async () => {
    const start = async () => {
      const server = new MetadataServer({
        host: '127.0.0.1',
        port: 0,
        clock,
        logger: silentLogger,
        dataDirectory: directory,
        isAlive: async () => true,
      });
      await server.start();
      return { server, base: `http://127.0.0.1:${server.port}/metadata` };
    };
    const first = await start();
    const put = (base: string, key: string, body: string) =>
      fetch(`${base}?key=${encodeURIComponent(key)}`, { method: 'PUT', body });
    await put(first.base, 'mooncake/ram/a:1', '{"name":"a:1"}');
    await put(first.base, 'mooncake/ram/b:1', '{"name":"b:1"}');
    await put(first.base, 'mooncake/rpc_meta/a:1', '{"ip_or_host_name":"h","rpc_port":1}');
    expect(await first.server.remove('mooncake/ram/b:1')).toBe(true);
    await first.server.stop(AbortSignal.abort());

    const second = await start();
    const found = await fetch(`${second.base}?key=mooncake/ram/a:1`);
    expect(await found.text()).toBe('{"name":"a:1"}');
    expect((await fetch(`${second.base}?key=mooncake/ram/b:1`)).status).toBe(404);
    const taken = await put(
      second.base,
      'mooncake/rpc_meta/a:1',
      '{"ip_or_host_name":"h","rpc_port":2}',
    );
    expect(taken.status).toBe(400);
    await second.server.stop(AbortSignal.abort());
  });
});
