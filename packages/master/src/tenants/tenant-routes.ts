import type { Logger } from '@tsukimi/base';
import { ErrorCode } from '@tsukimi/wire';
import { type Context, Hono } from 'hono';
import { refusal } from '../admin/admin-answers.ts';
import type { MasterCore } from '../core/master-core.ts';
import type { TenantQuota } from '../core/tenant-quotas.ts';
import { isTenantName } from '../core/tenant-table.ts';
import type { TenantKeeper } from './tenant-keeper.ts';

export interface TenantRoutePorts {
  readonly core: MasterCore;
  /** Null when tenants are one. */
  readonly tenants: TenantKeeper | null;
  readonly logger: Logger;
}

/** Quotas of tenants: looked at, given and taken away, as in Mooncake. */
export function tenantRoutes({ core, tenants, logger }: TenantRoutePorts): Hono {
  const app = new Hono();

  app.get('/', (context) => {
    const id = context.req.query('tenant_id') ?? '';
    if (id !== '' && !isTenantName(id)) return invalid(context, 'Invalid tenant_id');
    if (tenants === null) return refusal(context, ErrorCode.UNAVAILABLE_IN_CURRENT_MODE);
    if (id === '') return context.json({ success: true, data: tenants.list().map(describe) });
    const found = tenants.get(id);
    if (found === null) return refusal(context, ErrorCode.OBJECT_NOT_FOUND);
    return context.json({ success: true, data: describe(found) });
  });

  app.put('/', async (context) => {
    const id = context.req.query('tenant_id') ?? '';
    if (!isTenantName(id)) return invalid(context, 'Missing or invalid tenant_id');
    const byteCount = await requestedBytes(context);
    if (byteCount === null) return invalid(context, 'Invalid JSON body');
    if (!(byteCount >= 1 && byteCount < 2 ** 63)) {
      return invalid(context, 'Tenant quota must be in [1, 2^63 - 1] bytes');
    }
    if (tenants === null) return refusal(context, ErrorCode.UNAVAILABLE_IN_CURRENT_MODE);
    try {
      await tenants.set(id, byteCount);
    } catch (error) {
      return notStored(context, error);
    }
    const changed = tenants.get(id) as TenantQuota;
    return context.json({ success: true, data: describe(changed) });
  });

  app.delete('/', async (context) => {
    const id = context.req.query('tenant_id') ?? '';
    if (!isTenantName(id)) return invalid(context, 'Missing or invalid tenant_id');
    if (tenants === null) return refusal(context, ErrorCode.UNAVAILABLE_IN_CURRENT_MODE);
    if (!(tenants.get(id)?.requestedByteCount ?? 0)) {
      return refusal(context, ErrorCode.OBJECT_NOT_FOUND);
    }
    if (core.hasObjects(id)) return refusal(context, ErrorCode.TENANT_NOT_EMPTY);
    try {
      await tenants.remove(id);
    } catch (error) {
      return notStored(context, error);
    }
    const left = tenants.get(id);
    return context.json({ success: true, data: left === null ? null : describe(left) });
  });

  function notStored(context: Context, error: unknown): Response {
    logger.error('master.tenants-not-stored', { reason: (error as Error).message });
    return refusal(context, ErrorCode.PERSISTENT_FAIL);
  }

  return app;
}

function describe(quota: TenantQuota): object {
  return {
    tenant_id: quota.tenantId,
    requested_quota_bytes: quota.requestedByteCount,
    effective_quota_bytes: quota.effectiveByteCount,
    charged_bytes: quota.chargedByteCount,
    admission_closed: quota.requestedByteCount === 0,
    over_quota: quota.chargedByteCount > quota.effectiveByteCount,
    has_explicit_policy: quota.requestedByteCount > 0,
  };
}

/** Null when the body is no JSON object with such a number. */
async function requestedBytes(context: Context): Promise<number | null> {
  const body: unknown = await context.req.json().catch(() => null);
  if (typeof body !== 'object' || body === null) return null;
  const byteCount = (body as Record<string, unknown>)['requested_quota_bytes'];
  return typeof byteCount === 'number' ? byteCount : null;
}

function invalid(context: Context, message: string): Response {
  return refusal(context, ErrorCode.INVALID_PARAMS, message);
}
