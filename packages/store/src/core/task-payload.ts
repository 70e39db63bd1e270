import { TaskType, type Uuid } from '@tsukimi/wire';

/** To put copies of an object on more segments, or to take it from one to another. */
export type TransferOrder = CopyOrder | MoveOrder;

export interface CopyOrder {
  readonly kind: 'copy';
  readonly key: string;
  readonly tenantId: string;
  /** Names of segments. */
  readonly source: string;
  readonly targets: readonly string[];
  /** Where the master replicates by itself what is read often. */
  readonly dynamic: { readonly leaseId: Uuid; readonly epoch: number } | null;
}

export interface MoveOrder {
  readonly kind: 'move';
  readonly key: string;
  readonly tenantId: string;
  readonly source: string;
  readonly target: string;
}

/** Halves of an id, which a JavaScript number cannot hold. A key that has this text has its quotes escaped. */
const idHalf = /("dynamic_replication_lease_id_(?:high|low)"\s*:\s*)(\d{1,20})/g;

/** Reads the JSON of a task; null for what is none, or is of a type that we do not know. */
export function parseTask(type: number, payload: string): TransferOrder | null {
  const fields = parseFields(payload.replace(idHalf, '$1"$2"'));
  if (fields === null) return null;
  const { key, source, target, targets, tenant_id: tenantId = 'default' } = fields;
  if (typeof key !== 'string' || typeof source !== 'string' || typeof tenantId !== 'string') {
    return null;
  }
  if (type === TaskType.REPLICA_MOVE) {
    return typeof target === 'string' ? { kind: 'move', key, tenantId, source, target } : null;
  }
  if (type !== TaskType.REPLICA_COPY || !isTexts(targets)) return null;
  const {
    dynamic_replication_lease_id_high: high = '0',
    dynamic_replication_lease_id_low: low = '0',
    dynamic_replication_version_epoch: epoch = 0,
  } = fields;
  const leaseId = `${String(high)}-${String(low)}` as Uuid;
  const isDynamic = leaseId !== '0-0' && /^\d+-\d+$/.test(leaseId) && typeof epoch === 'number';
  const dynamic = isDynamic ? { leaseId, epoch } : null;
  return { kind: 'copy', key, tenantId, source, targets, dynamic };
}

function parseFields(payload: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(payload);
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
