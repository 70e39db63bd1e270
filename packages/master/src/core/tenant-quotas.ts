import { assert } from '@tsukimi/base';
import type { SegmentTable } from './segment-table.ts';
import type { TenantTable } from './tenant-table.ts';

/** What a tenant asked for, gets and has. */
export interface TenantQuota {
  readonly tenantId: string;
  /** 0 for a tenant without a policy that has objects from before. */
  readonly requestedByteCount: number;
  readonly effectiveByteCount: number;
  readonly chargedByteCount: number;
}

/** How much memory each tenant may have: what it asked for, or its share when all want more than there is. */
export class TenantQuotas {
  readonly #segments: SegmentTable;
  readonly #tenants: TenantTable;
  #requested: ReadonlyMap<string, number> = new Map();
  #effective = new Map<string, number>();
  /** Of the segments when shares were last made. */
  #capacityByteCount = 0;

  constructor(segments: SegmentTable, tenants: TenantTable) {
    this.#segments = segments;
    this.#tenants = tenants;
  }

  /** Bytes by tenant, each at least 1. */
  get policies(): ReadonlyMap<string, number> {
    return this.#requested;
  }

  /** From now on these tenants may write, and no others. */
  replace(policies: ReadonlyMap<string, number>): void {
    for (const byteCount of policies.values()) assert(byteCount >= 1, 'a quota is positive');
    this.#requested = policies;
    this.#share();
  }

  isRegistered(tenantId: string): boolean {
    return this.#requested.has(tenantId);
  }

  /** How many bytes must go before a tenant may have so many more; infinite when that never helps. */
  deficit(tenantId: string, byteCount: number): number {
    const effective = this.#effectiveOf(tenantId);
    if (byteCount > effective) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#chargedOf(tenantId) + byteCount - effective);
  }

  /** Tenants with a policy or objects, by name. */
  list(): TenantQuota[] {
    const ids = new Set(this.#requested.keys());
    for (const { id, chargedByteCount } of this.#tenants.all())
      if (chargedByteCount > 0) ids.add(id);
    return [...ids].toSorted(byCodeUnits).map((id) => this.#describe(id));
  }

  get(tenantId: string): TenantQuota | null {
    const isKnown = this.#requested.has(tenantId) || this.#chargedOf(tenantId) > 0;
    return isKnown ? this.#describe(tenantId) : null;
  }

  #describe(tenantId: string): TenantQuota {
    return {
      tenantId,
      requestedByteCount: this.#requested.get(tenantId) ?? 0,
      effectiveByteCount: this.#effectiveOf(tenantId),
      chargedByteCount: this.#chargedOf(tenantId),
    };
  }

  #chargedOf(tenantId: string): number {
    return this.#tenants.get(tenantId)?.chargedByteCount ?? 0;
  }

  #effectiveOf(tenantId: string): number {
    if (this.#segments.capacityByteCount !== this.#capacityByteCount) this.#share();
    return this.#effective.get(tenantId) ?? 0;
  }

  /** Whole bytes: what division leaves goes to those who lost most by it. */
  #share(): void {
    this.#capacityByteCount = this.#segments.capacityByteCount;
    const capacity = BigInt(this.#capacityByteCount);
    const requests = [...this.#requested].map(([id, count]) => [id, BigInt(count)] as const);
    const sum = requests.reduce((total, [, count]) => total + count, 0n);
    if (sum <= capacity) {
      this.#effective = new Map(this.#requested);
      return;
    }
    const shares = requests.map(([id, count]) => ({
      id,
      count: (capacity * count) / sum,
      rest: (capacity * count) % sum,
    }));
    shares.sort((one, other) =>
      one.rest === other.rest ? byCodeUnits(one.id, other.id) : one.rest > other.rest ? -1 : 1,
    );
    let left = capacity - shares.reduce((total, { count }) => total + count, 0n);
    for (const share of shares) {
      if (left === 0n) break;
      share.count += 1n;
      left -= 1n;
    }
    this.#effective = new Map(shares.map(({ id, count }) => [id, Number(count)]));
  }
}

function byCodeUnits(one: string, other: string): number {
  return one < other ? -1 : one === other ? 0 : 1;
}
