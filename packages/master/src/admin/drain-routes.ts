import { ErrorCode, parseUuid, type Uuid } from '@tsukimi/wire';
import { type Context, Hono } from 'hono';
import { z } from 'zod';
import { type DrainJob, JobStatus } from '../core/drain-jobs.ts';
import type { MasterCore } from '../core/master-core.ts';
import { refusal } from './admin-answers.ts';

const names = z.array(z.string().max(1_024)).max(1_024);
const request = z.object({
  segments: names.default([]),
  target_segments: names.default([]),
  max_concurrency: z
    .number()
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(4),
});

const statusNames = new Map<number, string>(
  Object.entries(JobStatus).map(([name, status]) => [status, name]),
);
const noError = { error_code: 0, error_message: '' };

/** The emptying of segments, at the paths and in the bodies of Mooncake. */
export function drainRoutes({ drains }: Pick<MasterCore, 'drains'>): Hono {
  const app = new Hono();
  app.post('/', async (context) => {
    const parsed = request.safeParse(await bodyOf(context));
    if (!parsed.success) {
      const reason = z.prettifyError(parsed.error).replaceAll('\n', ' ');
      return refusal(context, ErrorCode.INVALID_PARAMS, `Invalid JSON body: ${reason}`);
    }
    const { segments, target_segments, max_concurrency } = parsed.data;
    const created = drains.create({
      segments,
      targetSegments: target_segments,
      concurrency: max_concurrency,
    });
    if ('error' in created) return refusal(context, created.error);
    return context.json({ success: true, job_id: created.ok, status: 'CREATED', ...noError });
  });
  app.get('/query', (context) => {
    const id = idOf(context);
    if (id === null) return missingId(context);
    const job = drains.get(id);
    return job === undefined
      ? refusal(context, ErrorCode.JOB_NOT_FOUND)
      : context.json(describe(job));
  });
  app.post('/cancel', (context) => {
    const id = idOf(context);
    if (id === null) return missingId(context);
    const canceled = drains.cancel(id);
    if ('error' in canceled) return refusal(context, canceled.error);
    return context.json({ success: true, job_id: id, status: 'CANCELED', ...noError });
  });
  return app;
}

async function bodyOf(context: Context): Promise<unknown> {
  try {
    return await context.req.json();
  } catch (error) {
    return error;
  }
}

function idOf(context: Context): Uuid | null {
  try {
    return parseUuid(context.req.query('job_id') ?? '', 'job_id');
  } catch {
    return null;
  }
}

function missingId(context: Context): Response {
  return refusal(context, ErrorCode.INVALID_PARAMS, 'Missing or invalid job_id');
}

function describe(job: DrainJob): object {
  return {
    success: true,
    job_id: job.id,
    type: 0,
    type_name: 'DRAIN',
    status: job.status,
    status_name: statusNames.get(job.status),
    created_at_ms_epoch: job.createdAtMs,
    last_updated_at_ms_epoch: job.updatedAtMs,
    segments: job.request.segments,
    succeeded_units: job.succeededCount,
    failed_units: job.failedCount,
    blocked_units: job.blockedCount,
    active_units: job.active.size,
    migrated_bytes: job.migratedByteCount,
    message: job.message,
    ...noError,
  };
}
