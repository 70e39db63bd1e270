import { type Logger, sameSecret } from '@tsukimi/base';
import { ErrorCode } from '@tsukimi/wire';
import { type Context, Hono, type Next } from 'hono';
import type { CallTallies } from '../call-tallies.ts';
import type { MasterCore } from '../core/master-core.ts';
import type { Journal } from '../journal/journal.ts';
import type { LongWork } from '../long-work.ts';
import type { MasterRpc } from '../master-rpc.ts';
import type { Role } from '../standby/role.ts';
import { stateRoutes } from '../standby/state-routes.ts';
import type { TenantKeeper } from '../tenants/tenant-keeper.ts';
import { tenantRoutes } from '../tenants/tenant-routes.ts';
import { json, plainText, refusal } from './admin-answers.ts';
import { drainRoutes } from './drain-routes.ts';
import { keyRoutes } from './key-routes.ts';
import { metricsSummary, metricsText } from './metrics-text.ts';
import { segmentRoutes } from './segment-routes.ts';

export interface AdminPorts {
  readonly core: MasterCore;
  /** Null when none is kept. */
  readonly journal: Journal | null;
  readonly rpc: MasterRpc;
  readonly tallies: CallTallies;
  readonly longWork: LongWork;
  readonly logger: Logger;
  /** Null when tenants are one. */
  readonly tenants: TenantKeeper | null;
  readonly role: () => Role;
  /** What calls that change something must send as `X-API-Key`; null: nothing is asked. */
  readonly adminApiKey: string | null;
}

const noEvents = {
  enabled: false,
  published_batches: 0,
  published_events: 0,
  dropped_events: 0,
  skipped_unparsed_keys: 0,
};

/** The HTTP side of Mooncake's master, with its paths and bodies, and `/debug/invariants`. */
export function adminApi(ports: AdminPorts): Hono {
  const { core, journal, rpc, tallies, logger, role, adminApiKey } = ports;
  const app = new Hono();
  app.use(json);
  if (adminApiKey !== null)
    app.use('/api/v1/*', (context, next) => guard(context, next, adminApiKey));
  app.get('/metrics', (context) => plainText(context, metricsText(core, journal, rpc, tallies)));
  app.get('/metrics/summary', (context) => plainText(context, metricsSummary(core)));
  stateRoutes(app, role);
  app.get('/kv_events/status', (context) => context.json(noEvents));
  app.route('/', keyRoutes(core));
  app.route('/', segmentRoutes(core));
  app.route('/api/v1/drain_jobs', drainRoutes(core));
  app.route('/api/v1/tenant_quotas', tenantRoutes(ports));
  app.post('/api/v1/remove_all', (context) => removeAll(context, ports));
  app.get('/debug/invariants', (context) => invariants(context, ports));
  app.notFound((context) => context.body('404 Not Found', 404));
  app.onError((error, context) => {
    logger.error('master.admin-failed', { path: context.req.path, reason: error.message });
    return refusal(context, ErrorCode.INTERNAL_ERROR);
  });
  return app;
}

/** Reading is free to all. */
async function guard(context: Context, next: Next, key: string): Promise<Response | undefined> {
  if (context.req.method !== 'GET' && !sameSecret(context.req.header('x-api-key') ?? '', key)) {
    return refusal(context, ErrorCode.INTERNAL_ERROR, 'X-API-Key is missing or wrong', 403);
  }
  await next();
  return undefined;
}

/** Of one tenant if one is named, else of all. */
async function removeAll(
  context: Context,
  { core, longWork, logger }: AdminPorts,
): Promise<Response> {
  const force = ['true', '1'].includes(context.req.query('force') ?? '');
  const tenant = context.req.query('tenant_id') || null;
  const removed_count = await longWork.run(core.removeAll(force, tenant));
  logger.warn('master.all-removed', { objects: removed_count });
  return context.json({ success: true, removed_count });
}

function invariants(context: Context, { core }: AdminPorts): Response {
  try {
    core.checkInvariants();
  } catch (error) {
    return context.json({ ok: false, broken: (error as Error).message }, 500);
  }
  return context.json({
    ok: true,
    objects: core.objectCount,
    leases: core.countLeases(),
    unfinishedPuts: core.unfinishedPutCount,
    setAsideBytes: core.setAsideByteCount,
    clients: core.clientCount,
    segments: core.segments().map(({ name, id, usedByteCount, capacityByteCount }) => ({
      name,
      id,
      usedBytes: usedByteCount,
      capacityBytes: capacityByteCount,
    })),
  });
}
