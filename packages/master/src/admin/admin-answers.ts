import { ErrorCode, errorName } from '@tsukimi/wire';
import type { Context, Next } from 'hono';

const statuses = new Map<number, 400 | 404 | 409>([
  [ErrorCode.INVALID_PARAMS, 400],
  [ErrorCode.JOB_NOT_FOUND, 404],
  [ErrorCode.SEGMENT_NOT_FOUND, 404],
  [ErrorCode.OBJECT_NOT_FOUND, 404],
  [ErrorCode.TENANT_NOT_REGISTERED, 404],
  [ErrorCode.UNAVAILABLE_IN_CURRENT_MODE, 409],
  [ErrorCode.UNAVAILABLE_IN_CURRENT_STATUS, 409],
  [ErrorCode.TENANT_NOT_EMPTY, 409],
]);

/** An error as Mooncake's admin server tells it; with the HTTP status that goes with the code unless given. */
export function refusal(
  context: Context,
  code: number,
  message = errorName(code),
  status: 400 | 403 | 404 | 409 | 500 | 503 = statuses.get(code) ?? 500,
): Response {
  return context.json({ success: false, error_code: code, error_message: message }, status);
}

/** Text of the kind that Prometheus reads, which Mooncake's admin server sends for all its texts. */
export function plainText(
  context: Context,
  text: string | ReadableStream,
  status: 200 | 500 = 200,
): Response {
  return context.body(text, status, { 'content-type': 'text/plain; version=0.0.4' });
}

/** Says of every JSON answer what Mooncake's server says. */
export async function json(context: Context, next: Next): Promise<void> {
  await next();
  if (context.res.headers.get('content-type')?.startsWith('application/json') === true) {
    context.res.headers.set('content-type', 'application/json; charset=utf-8');
  }
}
