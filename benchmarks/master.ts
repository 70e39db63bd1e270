/**
 * What the master costs: calls a second over loopback from 8 connections, one or 16 calls deep, and the
 * CPU time they take in the master's process. The driver sends frames made beforehand, so that it is
 * not what is measured; it shares the machine's cores all the same.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { loadOptions, SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import { assembleMaster, masterOptions } from '@tsukimi/master';
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

const connectionCount = 8;
const depths = [1, 16];
const objectCount = 10_000;
const roundMs = 1_500;
const warmUpMs = 700;

type Name = keyof MasterProtocol;
/** One after the other; each is sent when all answers to the one before are there. */
type Steps = readonly Buffer[];

const tenant = 'default';
const writer = uuid(2);
const type = 4;

/** One JSON object: calls a second and CPU seconds for 100,000 calls, by operation and depth. */
export async function run(): Promise<object> {
  const master = fork(fileURLToPath(import.meta.url), ['master']);
  try {
    const [port] = (await once(master, 'message')) as [number];
    await prepare(port);
    const results: Record<string, object> = {};
    for (const depth of depths) {
      const slot = (connection: number, index: number) => `slot-${connection}-${index}`;
      const key = (connection: number, index: number) =>
        `key-${(connection * 1_009 + index * 31) % objectCount}`;
      const scenarios: Record<string, (connection: number) => Steps> = {
        exist: (connection) => [
          batch(depth, (index) => frame('ExistKey', [key(connection, index), tenant], index)),
        ],
        get: (connection) => [
          batch(depth, (index) => frame('GetReplicaList', [key(connection, index), tenant], index)),
        ],
        put_end_remove: (connection) => [
          batch(depth, (index) => putStart(slot(connection, index), index)),
          batch(depth, (index) => putEnd(slot(connection, index), index)),
          batch(depth, (index) => frame('Remove', [slot(connection, index), false, tenant], index)),
        ],
      };
      for (const [name, stepsOf] of Object.entries(scenarios)) {
        await drive(port, depth, stepsOf, warmUpMs);
        const before = await cpuSeconds(master);
        const { roundCount, seconds } = await drive(port, depth, stepsOf, roundMs);
        const cpu = (await cpuSeconds(master)) - before;
        const operationCount = roundCount * depth;
        results[`${name}_depth_${depth}`] = {
          operations_per_second: Math.round(operationCount / seconds),
          master_cpu_seconds_per_100000: Number(((cpu / operationCount) * 1e5).toFixed(3)),
        };
      }
    }
    return { benchmark: 'master', connections: connectionCount, ...results };
  } finally {
    master.kill('SIGKILL');
  }
}

/** Mounts memory and stores the objects that are read. */
async function prepare(port: number): Promise<void> {
  const socket = await connected(port);
  const holder = uuid(1);
  await answered(socket, frame('MountSegment', [segmentOf(1, 2 ** 34), holder], 0), 1);
  for (let first = 0; first < objectCount; first += 100) {
    const put = (index: number) => `key-${first + index}`;
    await answered(
      socket,
      batch(100, (index) => putStart(put(index), index)),
      100,
    );
    await answered(
      socket,
      batch(100, (index) => putEnd(put(index), index)),
      100,
    );
  }
  const [checked] = await answered(socket, frame('ExistKey', ['key-1', tenant], 0), 1);
  const result = decodeMessage(new ByteReader(checked as Buffer), masterProtocol.ExistKey.response);
  if (!('ok' in result && result.ok)) throw new Error('the master does not store objects');
  socket.destroy();
}

/** All connections repeat their steps for a while; gives how often steps were repeated in all. */
async function drive(
  port: number,
  depth: number,
  stepsOf: (connection: number) => Steps,
  forMs: number,
): Promise<{ roundCount: number; seconds: number }> {
  const sockets = await Promise.all(Array.from({ length: connectionCount }, () => connected(port)));
  const startMs = performance.now();
  const untilMs = startMs + forMs;
  const counts = await Promise.all(
    sockets.map((socket, connection) => repeat(socket, stepsOf(connection), depth, untilMs)),
  );
  const seconds = (performance.now() - startMs) / 1e3;
  for (const socket of sockets) socket.destroy();
  return { roundCount: counts.reduce((sum, count) => sum + count, 0), seconds };
}

/** Callbacks only: a promise for each answer would cost the driver more than the call costs us. */
function repeat(socket: Socket, steps: Steps, depth: number, untilMs: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const parser = new ResponseParser(2 ** 20);
    let step = 0;
    let waitingCount = depth;
    let roundCount = 0;
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
      socket.write(steps[step] as Buffer);
    });
    socket.write(steps[0] as Buffer);
  });
}

async function answered(socket: Socket, request: Buffer, count: number): Promise<Buffer[]> {
  const parser = new ResponseParser(2 ** 20);
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
  return frame('PutEnd', [writer, { key, objectChecksum: null }, type, tenant], sequence);
}

function frame<K extends Name>(name: K, args: ArgsOf<MasterProtocol[K]>, sequence: number): Buffer {
  const out = new ByteWriter();
  const method = (masterProtocol as Protocol)[name] as Protocol[string];
  writeRequest(out, sequence, method.functionId, () => encodeArgs(out, method, args));
  return Buffer.from(out.take());
}

function batch(count: number, make: (index: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

async function cpuSeconds(child: ChildProcess): Promise<number> {
  child.send('cpu');
  const [seconds] = (await once(child, 'message')) as [number];
  return seconds;
}

async function beMaster(): Promise<void> {
  const argv = ['--host=127.0.0.1', '--port=0', '--metrics_host=127.0.0.1', '--metrics_port=0'];
  const { services, rpc } = assembleMaster(
    loadOptions(masterOptions, { argv: [...argv, '--client_ttl=3600'], env: {} }),
    { clock: new SystemClock(), random: new SystemRandom(), logger: silentLogger },
  );
  for (const service of services) await service.start();
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send?.((user + system) / 1e6);
  });
  process.send?.(rpc.port);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on('disconnect', () => process.exit());
  if (process.argv[2] === 'master') await beMaster();
  else process.stdout.write(`${JSON.stringify(await run())}\n`);
}
