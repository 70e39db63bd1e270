import { ErrorCode, type ReplicateConfig } from '@tsukimi/wire';
import type { OwnClient } from './own-client.ts';
import { answered, config, type PythonClient, pattern, patternBytes } from './python-client.ts';

/** Bytes that follow from a seed, which both kinds of clients can make. */
export interface Value {
  readonly seed: number;
  readonly size: number;
}

/** What was read: the answer that `answered` gives for its bytes; null for nothing. */
export type Seen = { readonly size: number; readonly bytes: object } | null;

/** A store client of either kind, in the words of Mooncake's Python class: 0 is success, errors are negative. */
export interface PoolClient {
  readonly label: string;
  put(key: string, value: Value, replicaNum: number): Promise<number>;
  putBatch(keys: readonly string[], values: readonly Value[]): Promise<number>;
  upsert(key: string, value: Value, replicaNum: number): Promise<number>;
  get(key: string): Promise<Seen>;
  getBatch(keys: readonly string[]): Promise<Seen[]>;
  getInto(key: string, capacity: number): Promise<Seen | number>;
  exist(keys: readonly string[]): Promise<number[]>;
  size(key: string): Promise<number>;
  /** Names of the segments that hold copies. */
  holders(key: string): Promise<string[]>;
  remove(key: string, force: boolean): Promise<number>;
  /** The count. */
  removeByRegex(pattern: string): Promise<number>;
}

const seen = (data: Buffer): Seen => ({ size: data.length, bytes: answered(data) });

/** Whether what was read is this value, whole. */
export function isValue(read: Seen, { seed, size }: Value): boolean {
  const expected = JSON.stringify(answered(patternBytes(seed, size)));
  return read !== null && read.size === size && JSON.stringify(read.bytes) === expected;
}

export function ownPoolClient(label: string, { store }: OwnClient): PoolClient {
  const { objects } = store;
  const codeOf = (outcome: { ok: unknown } | { error: number }): number =>
    'error' in outcome ? outcome.error : 0;
  const numberOf = (outcome: { ok: number | boolean } | { error: number }): number =>
    'error' in outcome ? outcome.error : Number(outcome.ok);
  const bytesOf = ({ seed, size }: Value) => patternBytes(seed, size);
  const wish = (replicaNum: number): { config: Partial<ReplicateConfig> } => ({
    // Mooncake's clients do not prefer their own memory, and the pool shall be mixed.
    config: { replicaNum, preferredSegment: '' },
  });
  const seenIn = (outcome: { ok: Buffer } | { error: number }): Seen => {
    if ('ok' in outcome) return seen(outcome.ok);
    if (missing.has(outcome.error)) return null;
    throw new Error(`${label}: a read gave ${outcome.error}`);
  };
  return {
    label,
    put: async (key, value, replicaNum) =>
      codeOf(await objects.put(key, bytesOf(value), wish(replicaNum))),
    async putBatch(keys, values) {
      const codes = (await objects.putBatch(keys, values.map(bytesOf), wish(1))).map(codeOf);
      return codes.find((code) => code !== 0) ?? 0;
    },
    upsert: async (key, value, replicaNum) =>
      codeOf(await objects.upsert(key, bytesOf(value), wish(replicaNum))),
    get: async (key) => seenIn(await objects.get(key)),
    getBatch: async (keys) => (await objects.getBatch(keys)).map(seenIn),
    async getInto(key, capacity) {
      const into = Buffer.alloc(capacity);
      const outcome = await objects.getInto(key, into);
      return 'error' in outcome ? outcome.error : seen(into.subarray(0, outcome.ok));
    },
    exist: async (keys) => (await objects.existBatch(keys)).map(numberOf),
    size: async (key) => numberOf(await objects.size(key)),
    async holders(key) {
      const outcome = await objects.replicas(key);
      if ('error' in outcome) return [];
      return outcome.ok.map(({ location }) =>
        location.kind === 'memory' ? location.buffer.transportEndpoint : location.kind,
      );
    },
    remove: async (key, force) => codeOf(await objects.remove(key, { force })),
    removeByRegex: async (regex) => numberOf(await objects.removeByRegex(regex, { force: true })),
  };
}

/** Of a read that finds nothing: never there, not yet whole, or gone while it was read. */
const missing: ReadonlySet<number> = new Set([
  ErrorCode.OBJECT_NOT_FOUND,
  ErrorCode.REPLICA_IS_NOT_READY,
  ErrorCode.LEASE_EXPIRED,
]);

/** `bufferByteCount` is the longest value of `getInto`. */
export async function pythonPoolClient(
  label: string,
  python: PythonClient,
  bufferByteCount: number,
): Promise<PoolClient> {
  const buffer = await python.worker<number>('allocate', bufferByteCount);
  await python.store('register_buffer', { $address: [buffer, 0] }, bufferByteCount);
  const seenIn = (answer: Answered): Seen => {
    if (answer.$digest !== undefined) return { size: answer.size ?? 0, bytes: answer };
    const data = Buffer.from(answer.$bytes ?? '', 'base64');
    return data.length === 0 ? null : seen(data);
  };
  const values = (all: readonly Value[]) => all.map(({ seed, size }) => pattern(seed, size));
  return {
    label,
    put: (key, { seed, size }, replicaNum) =>
      python.store('put', key, pattern(seed, size), config({ replica_num: replicaNum })),
    putBatch: (keys, all) => python.store('put_batch', keys, values(all)),
    upsert: (key, { seed, size }, replicaNum) =>
      python.store('upsert', key, pattern(seed, size), config({ replica_num: replicaNum })),
    get: async (key) => seenIn(await python.store('get', key)),
    getBatch: async (keys) => (await python.store<Answered[]>('get_batch', keys)).map(seenIn),
    async getInto(key, capacity) {
      const into = { $address: [buffer, 0] };
      const size = await python.store<number>('get_into', key, into, capacity);
      return size < 0 ? size : seenIn(await python.worker('peek', buffer, 0, size));
    },
    exist: (keys) => python.store('batch_is_exist', keys),
    size: (key) => python.store('get_size', key),
    async holders(key) {
      const all = await python.worker<{ kind: string; endpoint?: string }[]>('descriptors', key);
      return all.map(({ kind, endpoint = kind }) => endpoint);
    },
    remove: (key, force) => python.store('remove', key, force),
    removeByRegex: (regex) => python.store('remove_by_regex', regex, true),
  };
}

interface Answered {
  readonly $bytes?: string;
  readonly $digest?: string;
  readonly size?: number;
}
