import { describe, expect, it } from 'vitest';
import { freePorts, Processes, sized } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { startOwnClient } from './own-client.ts';
import { answered, bytes, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

const releases = sized({
  smoke: ['0.3.11', '0.3.13.post1'],
  full: ['0.3.9', '0.3.10.post2', '0.3.11', '0.3.12.post1', '0.3.13.post1', '0.3.14'],
});
/** Which has upsert and batch_remove. */
const upsertsSince = (release: string) => !['0.3.9', '0.3.10'].includes(release);

/**
 * Clients of these releases, all at one address, do not always read from each other with the settings they
 * come with. Without a shortcut within the process and without kept connections they do. Our own client is
 * run with its own settings here, towards holders of every release.
 */
const env = { MC_STORE_MEMCPY: '0', MC_TCP_ENABLE_CONNECTION_POOL: '0' };

interface Client {
  readonly release: string;
  readonly python: PythonClient;
}

async function startClients(
  processes: Processes,
  master: Master,
  segmentByteCount: number,
  addressOf: (release: string) => string,
): Promise<Client[]> {
  const ports = await freePorts(releases.length);
  return Promise.all(
    releases.map(async (release, index) => {
      const python = new PythonClient(processes, installWheel(release), env);
      const setup = {
        ...{ name: `127.0.0.1:${ports + index}`, metadata: master.metadata, segmentByteCount },
        ...{ master: addressOf(release), bufferByteCount: 32 << 20 },
      };
      expect([release, await python.setup(setup)]).toEqual([release, 0]);
      return { release, python };
    }),
  );
}

describe('clients of different releases with one master of ours', { timeout: 300_000 }, () => {
  it('put, get, write over and remove objects of each other', async () => {
    await using processes = new Processes();
    const master = await startOwnMaster(processes, { flags: ['--default_kv_lease_ttl=2000'] });
    const clients = await startClients(processes, master, 64 << 20, () => master.address);
    const sizes = [1, 4_096, 1_000_003];
    for (const { release, python } of clients) {
      for (const size of sizes) {
        const key = `${release}-${size}`;
        expect([key, await python.store('put', key, pattern(size, size))]).toEqual([key, 0]);
      }
      const keys = [`${release}-a`, `${release}-b`];
      expect(await python.store('put_batch', keys, [bytes('one'), bytes('two')])).toBe(0);
    }
    for (const reader of clients) {
      for (const { release } of clients) {
        const seen = await Promise.all(
          sizes.map((size) => reader.python.store('get', `${release}-${size}`)),
        );
        const what = `${reader.release} reads ${release}`;
        expect([what, seen]).toEqual([
          what,
          sizes.map((size) => answered(patternBytes(size, size))),
        ]);
        const keys = [`${release}-a`, 'nobody', `${release}-b`];
        expect(await reader.python.store('get_batch', keys)).toEqual(
          ['one', '', 'two'].map((value) => bytes(value)),
        );
        expect(await reader.python.store('batch_is_exist', keys)).toEqual([1, 0, 1]);
        expect(await reader.python.store('is_exist', `${release}-1`)).toBe(1);
        expect(await reader.python.store('get_size', `${release}-4096`)).toBe(4_096);
      }
    }
    for (const { release, python } of clients.filter((client) => upsertsSince(client.release))) {
      expect(await python.store('upsert', 'shared', bytes(`by ${release}`))).toBe(0);
      for (const reader of clients) {
        expect(await reader.python.store('get', 'shared')).toEqual(bytes(`by ${release}`));
      }
    }
    for (const [index, { python }] of clients.entries()) {
      const next = clients[(index + 1) % clients.length]?.release;
      await expect
        .poll(() => python.store('remove', `${next}-1`), { timeout: 10_000, interval: 100 })
        .toBe(0);
      expect(await python.store('is_exist', `${next}-1`)).toBe(0);
      await expect
        .poll(() => python.store('remove_by_regex', `^${next}-[ab]$`), {
          timeout: 10_000,
          interval: 100,
        })
        .toBe(2);
    }
    const metrics = await (await fetch(`${master.adminUrl}/metrics`)).text();
    expect(metrics).toMatch(/tsukimi_master_connections\{release="0\.3\.13-0\.3\.14"\} [1-9]/);
    for (const { python } of clients) await python.store('close');
  });

  it('only read through the port of their release', async () => {
    await using processes = new Processes();
    const first = await freePorts(releases.length);
    const portOf = (release: string) => first + releases.indexOf(release);
    const flags = releases.map((release) => `--rpc_port_for=${release}=${portOf(release)}`);
    const master = await startOwnMaster(processes, { flags });
    const [port] = [await freePorts(1)];
    await using own = await startOwnClient({
      ...{ name: `127.0.0.1:${port}`, segmentByteCount: 64 << 20 },
      ...{ metadata: master.metadata, master: master.address },
    });
    expect(await own.store.put('ours', patternBytes(5, 50_000))).toBe('stored');
    const readers = await startClients(
      ...([processes, master, 0, (release: string) => `127.0.0.1:${portOf(release)}`] as const),
    );
    for (const { release, python } of readers) {
      const seen = [release, await python.store('get', 'ours')];
      expect(seen).toEqual([release, answered(patternBytes(5, 50_000))]);
      expect(await python.store('get_batch', ['ours', 'nobody'])).toEqual([
        answered(patternBytes(5, 50_000)),
        bytes(''),
      ]);
    }
    const metrics = await (await fetch(`${master.adminUrl}/metrics`)).text();
    expect(metrics).not.toMatch(/guessed_answers_total\{[^}]*\} [1-9]/);
  });
});

describe('our client', { timeout: 300_000 }, () => {
  it.each(releases)('speaks to the published master of %s', async (release) => {
    await using processes = new Processes();
    const wheel = installWheel(release);
    const master = await startRealMaster(processes, { wheel });
    const ports = await freePorts(2);
    await using own = await startOwnClient({
      ...{ name: `127.0.0.1:${ports}`, segmentByteCount: 64 << 20 },
      ...{ metadata: master.metadata, master: master.address },
    });
    const python = new PythonClient(processes, wheel, env);
    const setup = { name: `127.0.0.1:${ports + 1}`, metadata: master.metadata };
    expect(
      await python.setup({ ...setup, master: master.address, segmentByteCount: 64 << 20 }),
    ).toBe(0);
    for (const size of [1, 4_096, 1_000_003]) {
      expect(await own.store.put(`own-${size}`, patternBytes(size, size))).toBe('stored');
      expect(await python.store('get', `own-${size}`)).toEqual(answered(patternBytes(size, size)));
      expect(await python.store('put', `python-${size}`, pattern(size, size))).toBe(0);
      const read = await own.store.get(`python-${size}`, size);
      expect(read?.equals(patternBytes(size, size))).toBe(true);
    }
    expect(await own.store.get('nobody', 10)).toBeNull();
    await python.store('close');
  });

  it.each(releases)(
    'writes and reads the memory of a holder of %s over and over',
    async (release) => {
      await using processes = new Processes();
      const master = await startOwnMaster(processes);
      const ports = await freePorts(2);
      // Both with the settings they come with.
      const holder = new PythonClient(processes, installWheel(release));
      const setup = { name: `127.0.0.1:${ports}`, metadata: master.metadata };
      expect(
        await holder.setup({ ...setup, master: master.address, segmentByteCount: 128 << 20 }),
      ).toBe(0);
      await using own = await startOwnClient({
        ...{ name: `127.0.0.1:${ports + 1}`, segmentByteCount: 0 },
        ...{ metadata: master.metadata, master: master.address },
      });
      const sizes = [1, 4_096, 1_000_003];
      for (let round = 0; round < 10; round += 1) {
        const written = sizes.map(
          (size) => [`${round}-${size}`, patternBytes(round, size)] as const,
        );
        const stored = await Promise.all(written.map(([key, value]) => own.store.put(key, value)));
        expect(stored).toEqual(sizes.map(() => 'stored'));
        for (const [key, value] of written) {
          expect((await own.store.get(key, value.length))?.equals(value)).toBe(true);
        }
        const read = await Promise.all(
          written.map(([key, value]) => own.store.get(key, value.length)),
        );
        expect(
          read.map((bytesRead, index) => bytesRead?.equals(written[index]?.[1] as Buffer)),
        ).toEqual(sizes.map(() => true));
      }
      await holder.store('close');
    },
  );
});
