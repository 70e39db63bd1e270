import { setTimeout as pause } from 'node:timers/promises';
import { type Stack, seconds, timed, until } from './fault-stacks.ts';
import type { Member } from './members.ts';
import { answered, patternBytes } from './python-client.ts';

const kibibyte = 1_024;
const mebibyte = 2 ** 20;

/** What a stack did in the face of a fault. */
export interface Seen {
  /** For the table. */
  readonly text: string;
  /** How far it is from what ours must do; empty is as it must be. */
  readonly misses: readonly string[];
  /** Where it is to be no longer than in the real system. */
  readonly slowestMs?: number;
}

const seen = (text: string, ...misses: (string | false)[]): Seen => ({
  text,
  misses: misses.filter((miss) => miss !== false),
});

/** kill −9 of the only holder of a segment. */
export async function onlyHolderDies(stack: Stack, watchMs: number): Promise<Seen> {
  await stack.startMaster();
  const holder = await stack.startMember(64 * mebibyte);
  const client = await stack.startMember();
  for (let n = 0; n < 4; n += 1) await client.put(`k${n}`, 1, 64 * kibibyte);
  await holder.worker.kill();
  let getMs = 0;
  let disagreedUntilMs = 0;
  let slowestPutMs = 0;
  const codes = new Set<number>();
  const startMs = performance.now();
  for (let n = 0; performance.now() - startMs < watchMs; n += 1) {
    const read = await timed(client.get('k0'));
    getMs = Math.max(getMs, read.tookMs);
    const isThere = await client.exist('k0');
    if ((isThere === 1) !== (read.value !== null)) disagreedUntilMs = performance.now() - startMs;
    const put = await timed(client.put(`new${n}`, 1, 64 * kibibyte));
    codes.add(put.value);
    slowestPutMs = Math.max(slowestPutMs, put.tookMs);
    await pause(100);
  }
  return seen(
    `exist and get disagree for ${seconds(disagreedUntilMs)}; puts: ${[...codes].join(', ')}, ${seconds(slowestPutMs)} at most`,
    disagreedUntilMs > 0 && `exist and get disagreed for ${seconds(disagreedUntilMs)}`,
    codes.has(0) && 'a put without a segment succeeded',
    getMs > 2_000 && `a get took ${seconds(getMs)}`,
  );
}

/** kill −9 of one holder, while another lives. */
export async function oneHolderOfTwoDies(stack: Stack, watchMs: number): Promise<Seen> {
  await stack.startMaster();
  const holders = [await stack.startMember(64 * mebibyte), await stack.startMember(64 * mebibyte)];
  const client = await stack.startMember();
  for (let n = 0; n < 10; n += 1) await client.put(`before${n}`, 1, 64 * kibibyte);
  let failedCount = 0;
  let slowestMs = 0;
  let count = 0;
  let isKilled = false;
  const startMs = performance.now();
  while (performance.now() - startMs < watchMs) {
    const put = await timed(client.put(`k${count}`, count, 64 * kibibyte));
    if (put.value !== 0) failedCount += 1;
    slowestMs = Math.max(slowestMs, put.tookMs);
    count += 1;
    if (!isKilled && performance.now() - startMs > 500) {
      isKilled = true;
      void holders[0]?.worker.kill();
    }
    await pause(20);
  }
  return seen(
    `${failedCount} of ${count} puts failed; ${seconds(slowestMs)} at most`,
    failedCount > 0 && `${failedCount} puts failed`,
  );
}

/** kill −9 of the master, and its restart. */
export async function masterDies(stack: Stack): Promise<Seen> {
  await stack.startMaster();
  await stack.startMember(64 * mebibyte);
  const client = await stack.startMember();
  const keys = Array.from({ length: 50 }, (_, n) => `k${n}`);
  for (const key of keys) await client.put(key, 1, 64 * kibibyte);
  await stack.killMaster();
  const calls: number[] = [];
  for (let n = 0; n < 3; n += 1) {
    calls.push((await timed(client.get('k0'))).tookMs);
    calls.push((await timed(client.exist('k0'))).tookMs);
    calls.push((await timed(client.put(`down${n}`, 1, 64 * kibibyte))).tookMs);
  }
  await stack.startMaster();
  const back = await until(
    async () => ((await client.put('back', 1, kibibyte)) === 0 ? true : null),
    60_000,
  );
  // What is not there soon after the store works again will not come any more.
  await until(async () => ((await client.get('k0')) !== null ? true : null), 3_000);
  // Who joins now must find the holder anew.
  const newcomer = await stack.startMember();
  let lostCount = 0;
  for (const key of keys) {
    if ((await client.get(key)) === null || (await newcomer.get(key)) === null) lostCount += 1;
  }
  const slowestMs = Math.max(...calls);
  return seen(
    `calls meanwhile take ${seconds(slowestMs)} at most; ${back === null ? 'no put works after 60 s' : `puts work ${seconds(back.tookMs)} after the restart`}; ${lostCount} of ${keys.length} objects lost`,
    // A real client tries to reach the master again for as long as it likes.
    stack.hasOwnClients && slowestMs > 2_000 && `a call took ${seconds(slowestMs)}`,
    back === null && 'the store never worked again',
    lostCount > 0 && `${lostCount} objects were lost`,
  );
}

/** kill −9 of the master again and again, while one client puts and another reads. */
export async function masterDiesInTraffic(stack: Stack, deathCount: number): Promise<Seen> {
  await stack.startMaster();
  await stack.startMember(256 * mebibyte);
  const [writer, reader] = [await stack.startMember(), await stack.startMember()];
  const written: number[] = [];
  let staleCount = 0;
  let isOver = false;
  const isAsWritten = async (n: number) => {
    const read = await reader.get(`k${n}`);
    if (read === null) return false;
    if (JSON.stringify(read) !== JSON.stringify(answered(patternBytes(n, 16 * kibibyte)))) {
      staleCount += 1;
    }
    return true;
  };
  const writing = (async () => {
    for (let n = 0; !isOver; n += 1) {
      if ((await writer.put(`k${n}`, n, 16 * kibibyte)) === 0) written.push(n);
      await pause(5);
    }
  })();
  const reading = (async () => {
    for (let n = 0; !isOver; n += 7) {
      const chosen = written[n % Math.max(1, written.length)];
      if (chosen !== undefined) await isAsWritten(chosen);
      await pause(5);
    }
  })();
  for (let death = 0; death < deathCount; death += 1) {
    await pause(1_000);
    await stack.killMaster();
    await pause(300);
    await stack.startMaster();
  }
  await pause(2_000);
  isOver = true;
  await Promise.all([writing, reading]);
  const last = written.at(-1) ?? 0;
  await until(async () => ((await isAsWritten(last)) ? true : null), 10_000);
  let lostCount = 0;
  for (const n of written) if (!(await isAsWritten(n))) lostCount += 1;
  return seen(
    `${written.length} puts confirmed, ${lostCount} lost, ${staleCount} stale reads`,
    written.length < 50 && `only ${written.length} puts were confirmed`,
    lostCount > 0 && `${lostCount} confirmed puts were lost`,
    staleCount > 0 && `${staleCount} reads were stale`,
  );
}

/** kill −9 of a writer whose put hangs between PutStart and PutEnd. */
export async function writerDies(stack: Stack, watchMs: number): Promise<Seen> {
  await stack.startMaster();
  const holder = await stack.startMember(128 * mebibyte);
  const writer = await stack.startMember();
  const other = await stack.startMember();
  // A stopped holder takes no more than its socket's buffers hold.
  holder.worker.started.child.kill('SIGSTOP');
  const hanging = writer.put('k', 1, 15 * mebibyte).catch(() => null);
  await pause(1_000);
  await writer.worker.kill();
  await hanging;
  holder.worker.started.child.kill('SIGCONT');
  await pause(200);
  let liedCount = 0;
  const stored = await until(async () => {
    const code = await other.put('k', 2, 64 * kibibyte);
    if ((await other.get('k')) !== null) return code;
    if (code === 0) liedCount += 1;
    return null;
  }, watchMs);
  return seen(
    `${liedCount} puts return 0 and store nothing; ${stored === null ? `not writable for ${seconds(watchMs)}` : `stored after ${seconds(stored.tookMs)}`}`,
    liedCount > 0 && `${liedCount} puts returned 0 and stored nothing`,
    (stored === null || stored.tookMs > 5_000) && 'the key was not writable soon',
  );
}

/** Every object is leased, and there is no room. */
export async function memoryIsLeased(stack: Stack): Promise<Seen> {
  await stack.startMaster();
  await stack.startMember(64 * mebibyte);
  const client = await stack.startMember();
  let storedCount = 0;
  while ((await client.put(`k${storedCount}`, 1, mebibyte)) === 0 && storedCount < 60) {
    storedCount += 1;
  }
  for (let n = 0; n < storedCount; n += 1) await client.get(`k${n}`);
  let refusedCount = 0;
  let slowestMs = 0;
  const next = await until(async () => {
    const put = await timed(client.put(`new${refusedCount}`, 1, 8 * mebibyte));
    slowestMs = Math.max(slowestMs, put.tookMs);
    if (put.value === 0) return put.value;
    refusedCount += 1;
    return null;
  }, 20_000);
  return seen(
    `${refusedCount} puts refused before one succeeds, ${next === null ? 'never' : `after ${seconds(next.tookMs)}`}; ${seconds(slowestMs)} at most`,
    next === null && 'no put succeeded within 20 s',
    refusedCount > 2 && `${refusedCount} puts were refused without a word of when to come back`,
  );
}

/** More objects than fit; a busy machine delays puts of every system, so the quietest of three rounds counts. */
export async function memoryIsFull(stack: Stack): Promise<Seen> {
  await stack.startMaster();
  await stack.startMember(256 * mebibyte);
  const client = await stack.startMember();
  for (let n = 0; n < 100; n += 1) await client.put(`warm${n}`, n, mebibyte);
  let failedCount = 0;
  let keptCount = 600;
  let slowestMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3; round += 1) {
    let slowestOfRoundMs = 0;
    for (let n = 0; n < 600; n += 1) {
      const put = await timed(client.put(`${round}/${n}`, n, mebibyte));
      if (put.value !== 0) failedCount += 1;
      slowestOfRoundMs = Math.max(slowestOfRoundMs, put.tookMs);
    }
    slowestMs = Math.min(slowestMs, slowestOfRoundMs);
    let keptOfRoundCount = 0;
    for (let n = 0; n < 600; n += 1) {
      if ((await client.exist(`${round}/${n}`)) === 1) keptOfRoundCount += 1;
    }
    keptCount = Math.min(keptCount, keptOfRoundCount);
    // What was asked for is leased; the next round needs room.
    await pause(10_500);
  }
  return {
    slowestMs,
    ...seen(
      `${failedCount} of 1800 fail, ${keptCount} kept, ${Math.round(slowestMs)} ms at most`,
      failedCount > 0 && `${failedCount} puts failed`,
      keptCount < 200 && `only ${keptCount} objects were kept`,
    ),
  };
}

/** A put after `close`. */
export async function putAfterClose(stack: Stack): Promise<Seen> {
  await stack.startMaster();
  const client: Member = await stack.startMember(16 * mebibyte);
  await client.close();
  const outcome = await client.put('k', 1, 10).catch(() => null);
  const { signalCode } = client.worker.started.child;
  return seen(
    outcome === null ? `${signalCode}` : `error ${outcome}`,
    (outcome === null || outcome === 0) && `the put ended with ${outcome ?? signalCode}`,
  );
}
