import { KeyIndex } from './key-index.ts';
import type { ObjectGroup, StoredObject } from './stored-object.ts';

export const defaultTenant = 'default';

/** Who has keys of its own: the same key of two tenants is two objects. */
export class Tenant {
  readonly id: string;
  readonly objects = new KeyIndex<StoredObject>();
  readonly groups = new Map<string, ObjectGroup>();
  /** What its objects have in memory, written or not yet. */
  chargedByteCount = 0;

  constructor(id: string) {
    this.id = id;
  }
}

/** Whether a tenant may be called so: printable, and not one of the names kept for the store itself. */
export function isTenantName(name: string): boolean {
  if (name === '' || name.startsWith('_')) return false;
  for (let at = 0; at < name.length; at += 1) {
    const code = name.charCodeAt(at);
    if (code < 0x20 || code === 0x7f) return false;
  }
  return true;
}

/** The tenants that have objects, and the default one, which is all there is unless asked for. */
export class TenantTable {
  readonly default = new Tenant(defaultTenant);
  readonly #isMultiTenant: boolean;
  readonly #byId = new Map<string, Tenant>([[defaultTenant, this.default]]);

  constructor(isMultiTenant: boolean) {
    this.#isMultiTenant = isMultiTenant;
  }

  /** The tenant a caller means; undefined when it has no objects. */
  get(id: string): Tenant | undefined {
    if (!this.#isMultiTenant || id === '') return this.default;
    return this.#byId.get(id);
  }

  /** The tenant a writer means. */
  open(id: string): Tenant {
    let tenant = this.get(id);
    if (tenant === undefined) {
      tenant = new Tenant(id);
      this.#byId.set(id, tenant);
    }
    return tenant;
  }

  /** Forgets a tenant whose last object went. */
  close(tenant: Tenant): void {
    if (tenant !== this.default && tenant.objects.count === 0) this.#byId.delete(tenant.id);
  }

  all(): IterableIterator<Tenant> {
    return this.#byId.values();
  }
}
