import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it } from 'vitest';
import { freePorts, Processes, type Started, sized, untilReady } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { type OwnClient, startOwnClient } from './own-client.ts';
import { answered, PythonClient, pattern, patternBytes } from './python-client.ts';
import { installWheel } from './wheel.ts';

const masters = [
  ['our master', startOwnMaster],
  ['the real master', startRealMaster],
] as const;
const mebibyte = 2 ** 20;
const objectByteCount = 2 * mebibyte;
const objectCount = sized({ smoke: 40, full: 400 });
const nothing = Buffer.alloc(0);
const flags = ['--enable_offload=true', '--default_kv_lease_ttl=2000'];

interface Node {
  readonly started: Started;
  readonly url: string;
  metric(name: string): Promise<number>;
}

/** `tsukimi store` with a disk, once the master serves it. */
async function startNode(
  processes: Processes,
  master: Master,
  disks: readonly string[],
  { segment = '32mb', args = [] as readonly string[] } = {},
): Promise<Node> {
  const port = await freePorts(1);
  const started = processes.start([
    ...['store', '--host=127.0.0.1', `--port=${port}`, '--local-hostname=127.0.0.1'],
    ...[`--metadata-server=${master.metadata}`, `--master-server-address=${master.address}`],
    ...[`--global-segment-size=${segment}`, ...disks.map((disk) => `--disk-dir=${disk}`), ...args],
  ]);
  const url = `http://127.0.0.1:${port}`;
  await untilReady(`${url}/ready`, started);
  return {
    started,
    url,
    async metric(name) {
      const text = await (await fetch(`${url}/metrics`)).text();
      return Number(new RegExp(`^tsukimi_disk_${name} (\\S+)$`, 'm').exec(text)?.[1]);
    },
  };
}

const startReader = (master: Master, name: string) =>
  startOwnClient({
    name,
    metadata: master.metadata,
    master: master.address,
    segmentByteCount: 0,
  });

async function putAll({ store }: OwnClient, prefix: string, count = objectCount): Promise<void> {
  for (let index = 0; index < count; index++) {
    const value = patternBytes(index, objectByteCount);
    expect(await store.objects.put(`${prefix}-${index}`, value)).toEqual({ ok: 'stored' });
  }
}

async function readAll(client: OwnClient, prefix: string, count = objectCount): Promise<number> {
  return count - (await unreadable(client, prefix, count)).length;
}

/** The keys of which nothing can be read; all others have their bytes. */
async function unreadable({ store }: OwnClient, prefix: string, count: number): Promise<string[]> {
  const missing: string[] = [];
  for (let index = 0; index < count; index++) {
    const key = `${prefix}-${index}`;
    const get = () => store.get(key, objectByteCount, { timeoutMs: 20_000 });
    // A busy machine may take longer than the lease.
    const value = (await get()) ?? (await get());
    if (value === null) missing.push(key);
    else expect(value.equals(patternBytes(index, objectByteCount)), key).toBe(true);
  }
  return missing;
}

async function onDisk({ store }: OwnClient, key: string): Promise<boolean> {
  const copies = await store.objects.replicas(key);
  return 'ok' in copies && copies.ok.some(({ location }) => location.kind === 'localDisk');
}

function setupPython(
  python: PythonClient,
  master: Master,
  name: string,
  disk: string | null,
): Promise<number> {
  return python.store('setup', {
    local_hostname: name,
    metadata_server: master.metadata,
    global_segment_size: disk === null ? 0 : 32 * mebibyte,
    local_buffer_size: 16 * mebibyte,
    protocol: 'tcp',
    rdma_devices: '',
    master_server_addr: master.address,
    enable_ssd_offload: disk !== null,
    ssd_offload_path: disk ?? '',
  });
}

const offloadEnvironment = {
  MOONCAKE_OFFLOAD_HEARTBEAT_INTERVAL_SECONDS: '1',
  MOONCAKE_OFFLOAD_LOCAL_BUFFER_SIZE_BYTES: String(64 * mebibyte),
  MOONCAKE_OFFLOAD_BUCKET_SIZE_LIMIT_BYTES: String(8 * mebibyte),
  MOONCAKE_OFFLOAD_BUCKET_KEYS_LIMIT: '4',
  MOONCAKE_OFFLOAD_TOTAL_SIZE_LIMIT_BYTES: String(4096 * mebibyte),
};

describe.each(masters)('the disk tier, through %s', (_, start) => {
  it('gives back more than memory holds, also after the node was killed', async () => {
    await using processes = new Processes();
    const master = await start(processes, { flags });
    const disks = ['a', 'b'].map((name) => join(processes.directory, name));
    const node = await startNode(processes, master, disks);
    await using client = await startReader(master, '127.0.0.1:12311');
    await putAll(client, 'moon');
    const written = async () => (await node.metric('written_objects_total')) >= objectCount;
    await eventually(written, 'all objects to be on disk', 60_000);
    expect(await readAll(client, 'moon')).toBe(objectCount);
    expect(await node.metric('read_objects_total')).toBeGreaterThan(objectCount / 4);
    expect(await node.metric('damaged_objects_total')).toBe(0);

    const python = new PythonClient(processes, installWheel());
    expect(await setupPython(python, master, '127.0.0.1:12312', null)).toBe(0);
    for (const index of [0, 1, objectCount - 1]) {
      const value = await python.store('get', `moon-${index}`);
      expect(value).toEqual(answered(patternBytes(index, objectByteCount)));
    }

    node.started.child.kill('SIGKILL');
    await node.started.exited;
    const again = await startNode(processes, master, disks);
    expect(await again.metric('restored_objects_total')).toBe(objectCount);
    const all = async () => (await readAll(client, 'moon')) === objectCount;
    await eventually(all, 'all objects to be readable again', 60_000);
    expect(await again.metric('read_objects_total')).toBeGreaterThanOrEqual(objectCount);
    await python.store('close');
  });

  it('brings objects back to memory that are read, as the master asks', async () => {
    await using processes = new Processes();
    const promoting = ['--promotion_on_hit=true', '--promotion_admission_threshold=1'];
    const master = await start(processes, { flags: [...flags, ...promoting] });
    const node = await startNode(processes, master, [join(processes.directory, 'disk')]);
    await using client = await startReader(master, '127.0.0.1:12318');
    const count = 24;
    await putAll(client, 'star', count);
    const copies = async (index: number) => {
      const found = await client.store.objects.replicas(`star-${index}`);
      return 'ok' in found ? found.ok.map(({ location }) => location.kind) : [];
    };
    const written = async () => (await node.metric('written_objects_total')) >= count;
    await eventually(written, 'all objects to be on disk', 60_000);
    // Whatever else is in memory leaves, so that there is room for what is read.
    const kinds = await Promise.all(Array.from({ length: count }, (_, index) => copies(index)));
    const onDiskAlone = [...kinds.keys()].filter((index) => !kinds[index]?.includes('memory'));
    expect(onDiskAlone.length).toBeGreaterThan(0);
    for (const index of kinds.keys()) {
      if (kinds[index]?.includes('memory')) {
        await client.store.remove(`star-${index}`, { force: true });
      }
    }
    const [first = 0] = onDiskAlone;
    const isPromoted = async () => {
      const value = await client.store.get(`star-${first}`, objectByteCount);
      return value !== null && (await copies(first)).includes('memory');
    };
    await eventually(isPromoted, 'the promotion', 30_000);
    expect(await node.metric('promoted_objects_total')).toBeGreaterThan(0);
    const value = await client.store.get(`star-${first}`, objectByteCount, { timeoutMs: 20_000 });
    expect(value?.equals(patternBytes(first, objectByteCount))).toBe(true);
  });

  it('tells the master which objects had to leave the disk', async () => {
    await using processes = new Processes();
    const master = await start(processes, { flags });
    const disk = join(processes.directory, 'disk');
    const args = ['--disk-capacity=30mb', '--disk-eviction=fifo'];
    const node = await startNode(processes, master, [disk], { segment: '64mb', args });
    await using client = await startReader(master, '127.0.0.1:12319');
    for (let index = 0; index < 24; index++) {
      const value = patternBytes(index, objectByteCount);
      expect(await client.store.objects.put(`leaf-${index}`, value)).toEqual({ ok: 'stored' });
      if (index === 0) await eventually(() => onDisk(client, 'leaf-0'), 'the first file', 30_000);
      else if (index % 4 === 3) {
        await eventually(() => onDisk(client, `leaf-${index}`), 'the next file', 30_000);
      }
    }
    expect(await node.metric('evicted_objects_total')).toBeGreaterThan(0);
    expect(await node.metric('bytes')).toBeLessThanOrEqual(30 * mebibyte);
    expect(await onDisk(client, 'leaf-0')).toBe(false);
    expect(await readAll(client, 'leaf', 24)).toBe(24);
  });

  it('reads what a real client has put on its disk', async () => {
    await using processes = new Processes();
    const master = await start(processes, { flags });
    const disk = join(processes.directory, 'real');
    mkdirSync(disk);
    const python = new PythonClient(processes, installWheel(), offloadEnvironment);
    expect(await setupPython(python, master, '127.0.0.1:12313', disk)).toBe(0);
    await using client = await startReader(master, '127.0.0.1:12314');
    const count = 24;
    for (let index = 0; index < count; index++) {
      const put = () =>
        python.store<number>('put', `sun-${index}`, pattern(index, objectByteCount));
      await eventually(async () => (await put()) === 0, `room for sun-${index}`, 30_000);
    }
    await eventually(() => onDisk(client, `sun-${count - 1}`), 'the disk', 30_000);
    const lost = await unreadable(client, 'sun', count);
    if (master.kind === 'own') expect(lost).toEqual([]);
    // The real client writes to its disk by the bucket, and the real master evicts what still waits for one:
    // then the object is gone, and not only for us.
    for (const key of lost) {
      expect(await client.store.objects.exist(key)).toEqual({ ok: false });
      expect(await python.store('get', key)).toEqual(answered(nothing));
    }
    expect(lost.length).toBeLessThan(count / 2);
    const alone = await client.store.objects.replicasBatch(
      Array.from({ length: count }, (_, index) => `sun-${index}`),
    );
    const onDiskAlone = alone.filter(
      (copies) =>
        'ok' in copies && copies.ok.every(({ location }) => location.kind === 'localDisk'),
    );
    expect(onDiskAlone.length).toBeGreaterThan(0);
    await python.store('close');
  });
});

describe.each(masters)('files that all clients share, through %s', (_, start) => {
  it('are written and read by real clients and ours', async () => {
    await using processes = new Processes();
    const shared = join(processes.directory, 'shared');
    mkdirSync(shared);
    const master = await start(processes, {
      flags: [`--root_fs_dir=${shared}`, '--default_kv_lease_ttl=500'],
    });
    const python = new PythonClient(processes, installWheel());
    const segmentByteCount = 32 * mebibyte;
    const setup = { ...master, master: master.address, segmentByteCount };
    expect(await python.setup({ ...setup, name: '127.0.0.1:12316' })).toBe(0);
    await using client = await startReader(master, '127.0.0.1:12317');
    const inFile = async (key: string) => {
      const copies = await client.store.objects.replicas(key);
      return 'ok' in copies && copies.ok.some((c) => c.location.kind === 'disk' && c.status === 3);
    };
    for (let index = 0; index < 20; index++) {
      const key = `moon-${index}`;
      if (index % 2 === 0) {
        const value = patternBytes(index, objectByteCount);
        expect(await client.store.objects.put(key, value)).toEqual({ ok: 'stored' });
      } else {
        const put = () => python.store<number>('put', key, pattern(index, objectByteCount));
        await eventually(async () => (await put()) === 0, `room for ${key}`, 30_000);
      }
      await eventually(() => inFile(key), `the file of ${key}`, 30_000);
    }
    expect(await readAll(client, 'moon', 20)).toBe(20);
    for (const index of [0, 1, 2, 3]) {
      const value = await python.store('get', `moon-${index}`);
      expect(value).toEqual(answered(patternBytes(index, objectByteCount)));
    }
    await python.store('close');
  });
});

describe('a disk that takes nothing', () => {
  it('leaves objects in memory, says so, and is used again once it has room', async () => {
    await using processes = new Processes();
    const master = await startOwnMaster(processes, { flags });
    const disk = join(processes.directory, 'small');
    const node = await startNode(processes, master, [disk], {
      segment: '64mb',
      args: ['--disk-capacity=3mb'],
    });
    await using client = await startReader(master, '127.0.0.1:12315');
    writeFileSync(join(disk, 'a stranger'), 'left alone');
    const large = patternBytes(1, 4 * mebibyte);
    const small = patternBytes(2, mebibyte);
    expect(await client.store.objects.put('large', large)).toEqual({ ok: 'stored' });
    const refused = async () => (await node.metric('refused_objects_total')) === 1;
    await eventually(refused, 'the refusal', 30_000);
    expect((await client.store.get('large', large.length))?.equals(large)).toBe(true);
    expect(await onDisk(client, 'large')).toBe(false);
    expect(await client.store.objects.put('small', small)).toEqual({ ok: 'stored' });
    await eventually(() => onDisk(client, 'small'), 'the small object on disk', 30_000);
  });
});
