/**
 * What it costs to put objects into another process's segment and to get them from there, by shared
 * memory and by TCP, beside a plain copy in memory and a plain socket between the same two processes.
 * GB are 10⁹ bytes of payload.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { loadOptions, SystemClock, SystemRandom, silentLogger } from '@tsukimi/base';
import { assembleMaster, masterOptions } from '@tsukimi/master';
import { HttpMetadataStore, MetadataServer } from '@tsukimi/metadata';
import { StoreClient } from '@tsukimi/store';
import { TransferEngine } from '@tsukimi/transfer';

const host = '127.0.0.1';
const segmentByteCount = 512 * 2 ** 20;
/** Large enough that no cache holds it. */
const roundByteCount = 128 * 2 ** 20;
const roundMs = 900;
const objectByteCounts = [2 ** 20, 4 * 2 ** 20];
/** One batch; a prefill instance puts about as many chunks at once. */
const batchCount = 16;

/** One JSON object for each way and size, the baselines first. */
export async function run(): Promise<object[]> {
  const results: object[] = [];
  results.push({ benchmark: 'store', way: 'memcpy', gb_per_second: await measureCopy() });
  const sink = await startChild('socket');
  try {
    const port = sink.answer as number;
    for (const direction of ['put', 'get'] as const) {
      const gbPerSecond = await measureSocket(port, direction);
      results.push({ benchmark: 'store', way: 'socket', direction, gb_per_second: gbPerSecond });
    }
  } finally {
    sink.child.kill('SIGKILL');
  }
  for (const way of ['shared-memory', 'tcp'] as const) results.push(...(await measureStore(way)));
  return results;
}

async function measureStore(way: 'shared-memory' | 'tcp'): Promise<object[]> {
  const clock = new SystemClock();
  const ports = { clock, random: new SystemRandom(), logger: silentLogger };
  const metadata = new MetadataServer({ host, port: 0, clock, logger: silentLogger });
  const argv = [`--host=${host}`, '--port=0', '--metrics-port=0'];
  const master = assembleMaster(loadOptions(masterOptions, { argv, env: {} }), ports);
  for (const service of [metadata, ...master.services]) await service.start();
  const addresses = [String(metadata.port), String(master.rpc.port)];
  const { child } = await startChild('lender', way, ...addresses);
  const borrower = await startMember(way, `${host}:2`, null, addresses);
  try {
    const results: object[] = [];
    for (const byteCount of objectByteCounts) {
      const speeds = await measureObjects(borrower.store, byteCount);
      results.push({ benchmark: 'store', way, object_bytes: byteCount, ...speeds });
    }
    return results;
  } finally {
    const stopping = AbortSignal.timeout(2_000);
    await borrower.stop(stopping);
    // A lender that is told to stop removes its file in /dev/shm.
    child.send('stop');
    await once(child, 'exit');
    for (const service of [...master.services].reverse()) await service.stop(stopping);
    await metadata.stop(stopping);
  }
}

async function measureObjects(store: StoreClient, byteCount: number): Promise<object> {
  const sources = Array.from({ length: roundByteCount / byteCount }, (_, index) =>
    Buffer.alloc(byteCount, index + 1),
  );
  const targets = sources.map(() => Buffer.alloc(byteCount));
  const keys = sources.map((_, index) => `bench/${byteCount}/${index}`);
  const batches = Array.from({ length: Math.ceil(keys.length / batchCount) }, (_, index) =>
    keys.slice(index * batchCount, (index + 1) * batchCount),
  );
  const put = async () => {
    for (const [batch, part] of batches.entries()) {
      const outcomes = await store.putIfAbsent(
        part.map((key, index) => {
          const source = sources[batch * batchCount + index] as Buffer;
          return { key, byteCount, fill: (into: Buffer) => void source.copy(into) };
        }),
      );
      if (outcomes.some((outcome) => outcome !== 'stored'))
        throw new Error(`put: ${outcomes.join()}`);
    }
  };
  const get = async () => {
    for (const [batch, part] of batches.entries()) {
      const values = await store.getInto(
        part.map((key, index) => ({
          key,
          into: () => targets[batch * batchCount + index] ?? null,
        })),
        { timeoutMs: 5_000 },
      );
      if (values.includes(null)) throw new Error('get: something is missing');
    }
  };
  const clear = async () => {
    const outcomes = await store.removeBatch(keys, { force: true });
    if (outcomes.includes('failed')) throw new Error('remove failed');
  };
  await put();
  await get();
  await clear();
  const putGbPerSecond = await speed(roundByteCount, put, clear);
  await put();
  const getGbPerSecond = await speed(roundByteCount, get);
  await clear();
  if (!targets.every((target, index) => target.equals(sources[index] as Buffer))) {
    throw new Error('what came back is not what was put');
  }
  return { put_gb_per_second: putGbPerSecond, get_gb_per_second: getGbPerSecond };
}

async function measureCopy(): Promise<number> {
  const from = Buffer.alloc(roundByteCount, 1);
  const to = Buffer.alloc(roundByteCount, 2);
  const step = 2 ** 20;
  return speed(roundByteCount, async () => {
    for (let at = 0; at < roundByteCount; at += step) from.copy(to, at, at, at + step);
  });
}

/** A round is announced with one byte: what the other side is to do. */
async function measureSocket(port: number, direction: 'put' | 'get'): Promise<number> {
  const into = Buffer.alloc(2 ** 20);
  let receivedByteCount = 0;
  let onReceived = () => {};
  const socket = connect({
    host,
    port,
    noDelay: true,
    onread: {
      buffer: into,
      callback: (count: number) => {
        receivedByteCount += count;
        onReceived();
        return true;
      },
    },
  });
  await once(socket, 'connect');
  const received = (byteCount: number) =>
    new Promise<void>((resolve) => {
      onReceived = () => {
        if (receivedByteCount < byteCount) return;
        receivedByteCount -= byteCount;
        onReceived = () => {};
        resolve();
      };
      onReceived();
    });
  const source = Buffer.alloc(roundByteCount, 3);
  const result = await speed(roundByteCount, async () => {
    socket.write(direction === 'put' ? 'p' : 'g');
    if (direction === 'put') await writeAll(socket, source);
    await received(direction === 'put' ? 1 : roundByteCount);
  });
  socket.destroy();
  return result;
}

async function writeAll(socket: Socket, source: Buffer): Promise<void> {
  for (let at = 0; at < source.length; at += 2 ** 20) {
    const isRoomLeft = socket.write(source.subarray(at, at + 2 ** 20));
    if (!isRoomLeft) await once(socket, 'drain');
  }
}

/** GB a second of rounds of so many bytes; `between` is not counted. */
async function speed(
  byteCount: number,
  round: () => Promise<void>,
  between: () => Promise<void> = async () => {},
): Promise<number> {
  const untilMs = performance.now() + roundMs;
  let roundCount = 0;
  let totalMs = 0;
  while (roundCount < 2 || performance.now() < untilMs) {
    const startMs = performance.now();
    await round();
    totalMs += performance.now() - startMs;
    roundCount += 1;
    await between();
  }
  return Number(((byteCount * roundCount) / totalMs / 1e6).toFixed(2));
}

async function startMember(
  way: string,
  name: string,
  lentByteCount: number | null,
  [metadataPort, masterPort]: readonly string[],
) {
  const common = { clock: new SystemClock(), random: new SystemRandom(), logger: silentLogger };
  const sharedMemory = way === 'shared-memory';
  const url = new URL(`http://${host}:${metadataPort}/metadata`);
  const metadata = new HttpMetadataStore({ url, clock: common.clock });
  const engine = new TransferEngine({ ...common, name, metadata, host, sharedMemory });
  const store = new StoreClient({
    ...common,
    engine,
    masterAddress: { host, port: Number(masterPort) },
    localHostname: name,
    segment: lentByteCount === null ? null : { byteCount: lentByteCount, shared: sharedMemory },
  });
  await engine.start();
  await store.start();
  while (store.state !== 'serving') await new Promise((resolve) => setTimeout(resolve, 5));
  return {
    store,
    async stop(deadline: AbortSignal) {
      await store.stop(deadline);
      await engine.stop(deadline);
      await metadata.close();
    },
  };
}

async function startChild(...args: string[]): Promise<{ child: ChildProcess; answer: unknown }> {
  const child = fork(fileURLToPath(import.meta.url), args);
  const [answer] = (await once(child, 'message')) as [unknown];
  return { child, answer };
}

/** Sends or swallows rounds of bytes, as it is told. */
async function beSocket(): Promise<void> {
  const source = Buffer.alloc(roundByteCount, 4);
  const server = createServer({ noDelay: true }, (socket) => {
    let leftByteCount = 0;
    socket.on('error', () => socket.destroy());
    socket.on('data', (bytes: Buffer) => {
      if (leftByteCount === 0) {
        if (bytes[0] === 'g'.charCodeAt(0)) return void writeAll(socket, source);
        leftByteCount = roundByteCount + 1;
      }
      leftByteCount -= bytes.length;
      if (leftByteCount === 0) socket.write('d');
    });
  });
  server.listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  process.send?.(typeof address === 'object' ? address?.port : null);
}

async function beLender([way = '', ...addresses]: readonly string[]): Promise<void> {
  const member = await startMember(way, `${host}:1`, segmentByteCount, addresses);
  process.on('message', () => {
    void member.stop(AbortSignal.timeout(2_000)).then(() => process.exit());
  });
  process.send?.('ready');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.on('disconnect', () => process.exit());
  const [role, ...rest] = process.argv.slice(2);
  if (role === 'socket') await beSocket();
  else if (role === 'lender') await beLender(rest);
  else for (const result of await run()) process.stdout.write(`${JSON.stringify(result)}\n`);
}
