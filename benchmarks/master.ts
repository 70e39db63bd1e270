/**
 * What the master costs beside the published one: both are driven in one run, one after the other for
 * each line, by the same driver, over loopback. The driver sends frames made beforehand, so that it is
 * not what is measured; it shares the machine's cores all the same, so CPU seconds tell more than calls
 * a second. `tsx benchmarks/master.ts exist` runs one operation alone.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { configOf, segmentOf, uuid } from '@tsukimi/master/testing';
import {
  type ArgsOf,
  ByteReader,
  ByteWriter,
  decodeMessage,
  encodeArgs,
  type MasterProtocol,
  masterProtocol,
  type Protocol,
  ResponseParser,
  writeRequest,
} from '@tsukimi/wire';
import { Processes } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from '../interop/masters.ts';

const connectionCounts = [1, 8, 64];
const depths = [1, 16];
const objectCount = 10_000;
const roundMs = 1_000;
const warmUpMs = 400;
const tenant = 'default';
const holder = uuid(1);
const writer = uuid(2);
const allReplicas = 4;

type Name = keyof MasterProtocol;
/** Sent one after the other, each when all answers to the one before are there. */
type Steps = readonly ((round: number) => Buffer)[];

/** What one connection repeats: `depth` calls of each kind, all at once. */
interface Operation {
  /** Keys that one call is about. */
  readonly keyCount: number;
  steps(connection: number, depth: number): Steps;
}

const operations: Readonly<Record<string, Operation>> = {
  exist: reading((key, index) => frame('ExistKey', [key(0), tenant], index)),
  get: reading((key, index) => frame('GetReplicaList', [key(0), tenant], index)),
  ping: reading((_, index) => frame('Ping', [holder], index)),
  put_end: {
    keyCount: 1,
    steps: (connection, depth) => {
      const key = (round: number, index: number) => `new-${connection}-${round}-${index}`;
      return [
        (round) => calls(depth, (index) => putStart(key(round, index), index)),
        (round) => calls(depth, (index) => putEnd(key(round, index), index)),
      ];
    },
  },
  put_end_remove: {
    keyCount: 1,
    steps: (connection, depth) => {
      const key = (index: number) => `slot-${connection}-${index}`;
      return [
        always(calls(depth, (index) => putStart(key(index), index))),
        always(calls(depth, (index) => putEnd(key(index), index))),
        always(calls(depth, (index) => frame('Remove', [key(index), false, tenant], index))),
      ];
    },
  },
  ...Object.fromEntries([64, 512].flatMap((keyCount) => Object.entries(batches(keyCount)))),
};

function batches(keyCount: number): Record<string, Operation> {
  return {
    [`exist_batch_${keyCount}`]: reading(
      (key, index) => frame('BatchExistKey', [keysOf(keyCount, key), tenant], index),
      keyCount,
    ),
    [`get_batch_${keyCount}`]: reading(
      (key, index) => frame('BatchGetReplicaList', [keysOf(keyCount, key), tenant], index),
      keyCount,
    ),
    [`put_end_remove_batch_${keyCount}`]: {
      keyCount,
      steps: (connection, depth) => {
        const keys = (index: number) =>
          keysOf(keyCount, (place) => `slot-${connection}-${index}-${place}`);
        return [
          always(calls(depth, (index) => batchPutStart(keys(index), index))),
          always(calls(depth, (index) => batchPutEnd(keys(index), index))),
          always(
            calls(depth, (index) => frame('BatchRemove', [keys(index), false, tenant], index)),
          ),
        ];
      },
    },
  };
}

function reading(
  make: (key: (place: number) => string, index: number) => Buffer,
  keyCount = 1,
): Operation {
  return {
    keyCount,
    steps: (connection, depth) => {
      const key = (index: number) => (place: number) =>
        `key-${(connection * 1_009 + index * 31 + place) % objectCount}`;
      return [always(calls(depth, (index) => make(key(index), index)))];
    },
  };
}

/** One JSON object for each operation, count of connections and depth, and one for memory. */
export async function run(asked: readonly string[] = []): Promise<object[]> {
  await using processes = new Processes();
  const journalFlag = `--journal-dir=${join(processes.directory, 'journal')}`;
  const flags = ['--client_ttl=3600', '--default_kv_lease_ttl=10000'];
  const masters = {
    own: await startOwnMaster(processes, { flags }),
    journaled: await startOwnMaster(processes, { flags: [...flags, journalFlag] }),
    real: await startRealMaster(processes, { flags }),
  };
  for (const master of Object.values(masters)) await prepare(master);
  const results: object[] = [];
  for (const [name, operation] of Object.entries(operations)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    for (const connections of connectionCounts) {
      for (const depth of depths) {
        const own = await measure(masters.own, operation, connections, depth);
        const real = await measure(masters.real, operation, connections, depth);
        // Only what changes something is written to a journal.
        const journaled = name.startsWith('put')
          ? { journaled: await measure(masters.journaled, operation, connections, depth) }
          : {};
        results.push({
          ...{ benchmark: 'master', operation: name, connections, depth, own, ...journaled, real },
          operations_per_second_ratio: ratio(own.operations_per_second, real.operations_per_second),
          operations_per_cpu_second_ratio: ratio(
            real.cpu_seconds_per_100000,
            own.cpu_seconds_per_100000,
          ),
        });
      }
    }
  }
  if (asked.length === 0 || asked.includes('memory')) {
    const own = await memoryPerMillion(masters.own);
    const journaled = await memoryPerMillion(masters.journaled);
    const real = await memoryPerMillion(masters.real);
    const operation = 'memory_mib_per_million_objects';
    results.push({ benchmark: 'master', operation, own, journaled, real });
  }
  if (asked.length === 0 || asked.includes('recovery')) {
    results.push(await recovery(processes, masters.journaled, [...flags, journalFlag]));
  }
  return results;
}

/** A master with a million objects is killed and started again. */
async function recovery(processes: Processes, master: Master, flags: string[]): Promise<object> {
  const socket = await connected(master.port);
  await store(socket, 'tsukimi/0123456789abcdef/0/256/recovered', 1_000_000);
  const metrics = await (await fetch(`${master.adminUrl}/metrics`)).text();
  const metric = (name: string) =>
    Number(new RegExp(`^tsukimi_master_journal_${name} (.*)$`, 'm').exec(metrics)?.[1]);
  socket.destroy();
  master.started.child.kill('SIGKILL');
  await master.started.exited;
  const startedMs = performance.now();
  const again = await startOwnMaster(processes, { flags, firstPort: master.port });
  const readyMs = Math.round(performance.now() - startedMs);
  const recovered = /journal\.recovered objects=(\d+) segments=\d+ bytes=(\d+) ms=(\d+)/.exec(
    again.started.log(),
  );
  return {
    ...{ benchmark: 'master', operation: 'recovery', objects: Number(recovered?.[1]) },
    ...{ bytes: Number(recovered?.[2]), recovery_ms: Number(recovered?.[3]), ready_ms: readyMs },
    ...{ snapshots: metric('snapshots_total'), last_snapshot_ms: metric('last_snapshot_ms') },
    // With what a start costs anyway, about 0.4.
    ...{ cpu_seconds: cpuSeconds(again), rss_mib: Math.round(residentMiB(again)) },
  };
}

async function measure(master: Master, operation: Operation, connections: number, depth: number) {
  await drive(master, operation, connections, depth, warmUpMs);
  const before = cpuSeconds(master);
  const { roundCount, seconds } = await drive(master, operation, connections, depth, roundMs);
  const cpu = cpuSeconds(master) - before;
  const operationCount = roundCount * depth;
  // What was put and not removed must not fill the memory for the next line.
  if (operation === operations['put_end']) {
    const socket = await connected(master.port);
    await answered(socket, frame('RemoveByRegex', ['^new-', true, tenant], 0), 1);
    socket.destroy();
  }
  return {
    operations_per_second: Math.round(operationCount / seconds),
    keys_per_second: Math.round((operationCount * operation.keyCount) / seconds),
    cpu_seconds_per_100000: Number(((cpu / operationCount) * 1e5).toFixed(3)),
  };
}

const ratio = (one: number, other: number): number => Number((one / other).toFixed(2));

/** Mounts memory and stores the objects that are read. The holder stays: a master misses one whose connections end. */
async function prepare({ port }: Master): Promise<void> {
  const socket = await connected(port);
  await answered(socket, frame('MountSegment', [segmentOf(1, 2 ** 38), holder], 0), 1);
  await answered(socket, frame('ReMountSegment', [[segmentOf(1, 2 ** 38)], holder], 0), 1);
  await store(socket, 'key', objectCount);
  const [checked] = await answered(socket, frame('ExistKey', ['key-1', tenant], 0), 1);
  const result = decodeMessage(new ByteReader(checked as Buffer), masterProtocol.ExistKey.response);
  if (!('ok' in result && result.ok)) throw new Error('the master does not store objects');
}

async function store(socket: Socket, prefix: string, count: number): Promise<void> {
  for (let first = 0; first < count; first += 500) {
    const keys = keysOf(500, (place) => `${prefix}-${first + place}`);
    await answered(socket, batchPutStart(keys, 0), 1);
    await answered(socket, batchPutEnd(keys, 0), 1);
  }
}

async function memoryPerMillion(master: Master): Promise<number> {
  const socket = await connected(master.port);
  const before = residentMiB(master);
  await store(socket, 'tsukimi/0123456789abcdef/0/256/resident', 1_000_000);
  const after = residentMiB(master);
  socket.destroy();
  return Math.round(after - before);
}

/** All connections repeat their steps for a while; gives how often steps were repeated in all. */
async function drive(
  { port }: Master,
  operation: Operation,
  connections: number,
  depth: number,
  forMs: number,
): Promise<{ roundCount: number; seconds: number }> {
  const sockets = await Promise.all(Array.from({ length: connections }, () => connected(port)));
  const startMs = performance.now();
  const untilMs = startMs + forMs;
  const counts = await Promise.all(
    sockets.map((socket, connection) =>
      repeat(socket, operation.steps(connection, depth), depth, untilMs),
    ),
  );
  const seconds = (performance.now() - startMs) / 1e3;
  for (const socket of sockets) socket.destroy();
  return { roundCount: counts.reduce((sum, count) => sum + count, 0), seconds };
}

let driveCount = 0;

/** Callbacks only: a promise for each answer would cost the driver more than the call costs us. */
function repeat(socket: Socket, steps: Steps, depth: number, untilMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const parser = new ResponseParser(2 ** 24);
    // Keys that are new must be new in every drive.
    const firstRound = 1_000_000 * driveCount++;
    let step = 0;
    let waitingCount = depth;
    let roundCount = 0;
    const send = () => socket.write((steps[step] as Steps[number])(firstRound + roundCount));
    socket.once('error', reject);
    socket.on('data', (chunk: Buffer) => {
      const frames = parser.push(chunk);
      if (frames.some(({ error }) => error !== 0)) return reject(new Error('the master refused'));
      waitingCount -= frames.length;
      if (waitingCount > 0) return;
      waitingCount = depth;
      step += 1;
      if (step === steps.length) {
        step = 0;
        roundCount += 1;
        if (performance.now() >= untilMs) return resolve(roundCount);
      }
      send();
    });
    send();
  });
}

async function answered(socket: Socket, request: Buffer, count: number): Promise<Buffer[]> {
  const parser = new ResponseParser(2 ** 24);
  const bodies: Buffer[] = [];
  socket.write(request);
  while (bodies.length < count) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    bodies.push(...parser.push(chunk).map(({ body }) => Buffer.from(body)));
  }
  return bodies;
}

async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  return socket;
}

function putStart(key: string, sequence: number): Buffer {
  return frame('PutStart', [writer, key, 4_096, configOf(), tenant], sequence);
}

function putEnd(key: string, sequence: number): Buffer {
  return frame('PutEnd', [writer, { key, objectChecksum: null }, allReplicas, tenant], sequence);
}

function batchPutStart(keys: readonly string[], sequence: number): Buffer {
  const sizes = keys.map(() => 4_096);
  return frame('BatchPutStart', [writer, keys, sizes, configOf(), tenant], sequence);
}

function batchPutEnd(keys: readonly string[], sequence: number): Buffer {
  const metas = keys.map((key) => ({ key, objectChecksum: null }));
  return frame('BatchPutEnd', [writer, metas, allReplicas, tenant], sequence);
}

function keysOf(count: number, make: (place: number) => string): string[] {
  return Array.from({ length: count }, (_, place) => make(place));
}

function frame<K extends Name>(name: K, args: ArgsOf<MasterProtocol[K]>, sequence: number): Buffer {
  const out = new ByteWriter();
  const method = (masterProtocol as Protocol)[name] as Protocol[string];
  writeRequest(out, sequence, method.functionId, () => encodeArgs(out, method, args));
  return Buffer.from(out.take());
}

const always = (bytes: Buffer) => () => bytes;

function calls(count: number, make: (index: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

/** Of the master's process, all threads; Linux counts in hundredths of a second. */
function cpuSeconds({ started }: Master): number {
  const stat = readFileSync(`/proc/${started.child.pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function residentMiB({ started }: Master): number {
  const status = readFileSync(`/proc/${started.child.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const line of await run(process.argv.slice(2))) {
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
  process.exit(0);
}
