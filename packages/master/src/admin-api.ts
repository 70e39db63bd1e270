import { createHash, timingSafeEqual } from 'node:crypto';
import type { Logger } from '@tsukimi/base';
import { ErrorCode, errorName, type ReplicaDescriptor, SegmentStatus } from '@tsukimi/wire';
import { type Context, Hono } from 'hono';
import type { CallTallies } from './call-tallies.ts';
import type { MasterCore } from './core/master-core.ts';
import type { SegmentView } from './core/segment-view.ts';
import type { Journal } from './journal/journal.ts';
import { metricsSummary, metricsText } from './metrics-text.ts';
import type { Role } from './standby/role.ts';
import { stateRoutes } from './standby/state-routes.ts';

export interface AdminPorts {
  readonly core: MasterCore;
  /** Null when none is kept. */
  readonly journal: Journal | null;
  readonly tallies: CallTallies;
  readonly logger: Logger;
  readonly role: () => Role;
  /** What calls that destroy must send as `X-API-Key`; null: nothing is asked. */
  readonly adminApiKey: string | null;
}

/** So many keys at most in one question. */
const batchCountMax = 10_000;
const statusNames = new Map<number, string>(
  Object.entries(SegmentStatus).map(([name, status]) => [status, name]),
);

/** The HTTP side of Mooncake's master, with its paths and bodies, and `/debug/invariants`. */
export function adminApi(ports: AdminPorts): Hono {
  const { core, journal, tallies, role } = ports;
  const app = new Hono();
  app.get('/metrics', (context) => {
    context.header('content-type', 'text/plain; version=0.0.4');
    return context.body(metricsText(core, journal, tallies));
  });
  app.get('/metrics/summary', (context) => context.text(metricsSummary(core)));
  stateRoutes(app, role);
  keyRoutes(app, core);
  segmentRoutes(app, core);
  app.post('/api/v1/remove_all', (context) => removeAll(context, ports));
  app.get('/debug/invariants', (context) => invariants(context, ports));
  app.notFound((context) => context.text('404 Not Found', 404));
  app.onError((error, context) => {
    ports.logger.error('master.admin-failed', { path: context.req.path, reason: error.message });
    return refused(context, 500, ErrorCode.INTERNAL_ERROR);
  });
  return app;
}

function keyRoutes(app: Hono, core: MasterCore): void {
  app.get('/query_key', (context) => {
    const found = core.find(context.req.query('key') ?? '');
    if ('error' in found) return refused(context, 404, found.error);
    return context.json({ success: true, data: buffersOf(found.ok.replicas) });
  });
  app.get('/batch_query_keys', (context) => {
    const keys = (context.req.query('keys') ?? '').split(',').filter((key) => key !== '');
    if (keys.length === 0) {
      const error = 'No keys provided. Use ?keys=key1,key2,...';
      return context.json({ success: false, error }, 400);
    }
    if (keys.length > batchCountMax) return refused(context, 400, ErrorCode.INVALID_PARAMS);
    const data = keys.map((key) => {
      const found = core.peek(key);
      const isThere = 'ok' in found;
      return [
        key,
        {
          ok: isThere,
          error: isThere ? null : errorName(found.error),
          values: isThere ? buffersOf(found.ok.replicas) : null,
          ...otherValuesOf(isThere ? found.ok.replicas : []),
        },
      ];
    });
    return context.json({ success: true, data: Object.fromEntries(data) });
  });
  app.get('/get_all_keys', (context) => context.text(lines(core.keys())));
}

function segmentRoutes(app: Hono, core: MasterCore): void {
  app.get('/get_all_segments', (context) =>
    context.text(lines(core.segments().map(({ name }) => name))),
  );
  app.get('/get_segments_detail', (context) => {
    const segments = core.segments().map(describeSegment);
    return context.json({ total_segments: segments.length, segments });
  });
  app.get('/query_segment', (context) => {
    const name = context.req.query('segment') ?? '';
    const segments = core.segmentsNamed(name);
    if (segments.length === 0) return refused(context, 500, ErrorCode.SEGMENT_NOT_FOUND);
    const sum = (field: 'usedByteCount' | 'capacityByteCount') =>
      segments.reduce((total, segment) => total + segment[field], 0);
    return context.text(
      `${name}\nUsed(bytes): ${sum('usedByteCount')}\nCapacity(bytes) : ${sum('capacityByteCount')}\n`,
    );
  });
  app.get('/api/v1/segments/status', (context) => {
    const segment = context.req.query('segment') ?? '';
    if (segment === '') return refused(context, 400, ErrorCode.INVALID_PARAMS);
    const found = core.segmentStatus(segment);
    if ('error' in found) return refused(context, 404, found.error);
    return context.json({
      success: true,
      segment,
      status: found.ok,
      status_name: statusNames.get(found.ok),
      error_code: 0,
      error_message: '',
    });
  });
}

function removeAll(context: Context, { core, adminApiKey, logger }: AdminPorts): Response {
  if (adminApiKey !== null && !sameText(context.req.header('x-api-key') ?? '', adminApiKey)) {
    const error_message = 'X-API-Key is missing or wrong';
    return context.json({ success: false, error_code: -1, error_message }, 403);
  }
  const removed_count = core.removeAll(context.req.query('force') === 'true');
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

function refused(context: Context, status: 400 | 404 | 500, code: number): Response {
  const error_message = errorName(code);
  return context.json({ success: false, error_code: code, error_message }, status);
}

/** Copies that do not lie in memory; null where there is none of a kind. */
function otherValuesOf(replicas: readonly ReplicaDescriptor[]): object {
  const locations = replicas.map(({ location }) => location);
  const orNull = (values: object[]) => (values.length === 0 ? null : values);
  const inFiles = locations.flatMap((location) =>
    location.kind === 'disk'
      ? [{ file_path: location.filePath, object_size: location.objectSize }]
      : [],
  );
  const onLocalDisks = locations.flatMap((location) => {
    if (location.kind !== 'localDisk') return [];
    const { clientId: client_id, objectSize: object_size, transportEndpoint } = location;
    return [{ client_id, object_size, transport_endpoint: transportEndpoint }];
  });
  return {
    disk_values: orNull(inFiles),
    local_disk_values: orNull(onLocalDisks),
    nof_values: null,
  };
}

/** Memory replicas only, as in Mooncake. Addresses of user space are below 2^53: a number holds them. */
function buffersOf(replicas: readonly ReplicaDescriptor[]): object[] {
  return replicas.flatMap(({ location }) => {
    if (location.kind !== 'memory') return [];
    const { size, bufferAddress, protocol, transportEndpoint } = location.buffer;
    return {
      size_: size,
      buffer_address_: Number(bufferAddress),
      protocol_: protocol,
      transport_endpoint_: transportEndpoint,
    };
  });
}

function describeSegment(segment: SegmentView): object {
  const { capacityByteCount, usedByteCount } = segment;
  return {
    segment_name: segment.name,
    segment_id: segment.id,
    client_id: segment.owner,
    base_address: `0x${segment.base.toString(16)}`,
    size_bytes: capacityByteCount,
    size_human: `${capacityByteCount / 2 ** 30} GiB`,
    te_endpoint: segment.teEndpoint,
    protocol: segment.protocol,
    status: statusNames.get(segment.status),
    allocator_used_bytes: usedByteCount,
    allocator_capacity_bytes: capacityByteCount,
    allocator_usage_percent: (100 * usedByteCount) / capacityByteCount,
  };
}

function lines(texts: Iterable<string>): string {
  return [...texts].map((text) => `${text}\n`).join('');
}

/** Takes the same time wherever the texts differ. */
function sameText(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
