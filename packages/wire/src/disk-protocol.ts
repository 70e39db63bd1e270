import { bool, expected, i64, list, size, struct, text, u64 } from './codec.ts';
import { endpoint } from './messages/objects.ts';
import { methodOf } from './protocol.ts';

const call = methodOf('mooncake::RealClient');

/** Tenant, a zero byte, the tenant's key. */
const storageKey = text(2 ** 16 + 2 ** 10);

/** Objects that were copied from a disk to memory, to be read there and then released. */
const loadedObjects = struct({
  batchId: u64,
  /** Virtual addresses, in the order of the keys. */
  pointers: list(u64),
  transferEngineAddress: endpoint,
  /** How long the memory stays as it is when nobody releases it. */
  gcTtlMs: size,
});

/** What store clients with a disk answer to others, on an RPC server of their own. */
export const diskProtocol = {
  batch_get_offload_object: call(
    'batch_get_offload_object',
    [list(storageKey, 2 ** 16), list(i64)],
    expected(loadedObjects),
  ),
  release_offload_buffer: call('release_offload_buffer', [u64], bool),
} as const;

export type DiskProtocol = typeof diskProtocol;

/** The name of an object among those of all tenants. */
export function storageKeyOf(tenantId: string, key: string): string {
  return `${tenantId}\0${key}`;
}

/** The opposite; what names no tenant is the default one's. */
export function parseStorageKey(storageKey: string): {
  readonly tenantId: string;
  readonly key: string;
} {
  const at = storageKey.indexOf('\0');
  if (at < 0) return { tenantId: 'default', key: storageKey };
  return { tenantId: storageKey.slice(0, at), key: storageKey.slice(at + 1) };
}
