import { Ending, type Service } from '@tsukimi/base';
import type { TenantQuota, TenantQuotas } from '../core/tenant-quotas.ts';
import type { PolicyStore, TenantPolicies } from './policy-store.ts';

/** Keeps the quotas of a core and their store the same: what is not stored does not hold. */
export class TenantKeeper implements Service {
  readonly name = 'tenants (--tenant_quota_connector_uri)';
  readonly #quotas: TenantQuotas;
  readonly #store: PolicyStore;
  readonly #ending = new Ending();
  #saving: Promise<unknown> = Promise.resolve();

  constructor(quotas: TenantQuotas, store: PolicyStore) {
    this.#quotas = quotas;
    this.#store = store;
  }

  async start(): Promise<void> {
    this.#quotas.replace(await this.#store.load());
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    await this.#saving.catch(() => undefined);
    this.#store.close();
    this.#ending.stopped();
  }

  list(): TenantQuota[] {
    return this.#quotas.list();
  }

  get(tenantId: string): TenantQuota | null {
    return this.#quotas.get(tenantId);
  }

  /** Gives a tenant a quota, and the right to write with its first. */
  set(tenantId: string, byteCount: number): Promise<void> {
    return this.#change((policies) => policies.set(tenantId, byteCount));
  }

  /** Takes the quota away, and with it the right to write. */
  remove(tenantId: string): Promise<void> {
    return this.#change((policies) => policies.delete(tenantId));
  }

  /** One change after the other, each stored before it holds. */
  #change(change: (policies: Map<string, number>) => void): Promise<void> {
    const changed = this.#saving.then(async () => {
      const policies = new Map(this.#quotas.policies);
      change(policies);
      const sorted: TenantPolicies = new Map(
        [...policies].toSorted(([one], [other]) => (one < other ? -1 : 1)),
      );
      await this.#store.save(sorted);
      this.#quotas.replace(sorted);
    });
    this.#saving = changed.catch(() => undefined);
    return changed;
  }
}
