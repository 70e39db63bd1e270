import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Clock, Fault, type Logger, readJsonBody, sleep } from '@tsukimi/base';
import { ErrorCode, parseUuid } from '@tsukimi/wire';
import type { StoreClient } from '../store-client.ts';
import { type Answer, failure, json, success } from './rest-answers.ts';
import { sendAnswer } from './send-answer.ts';

export interface RestApiOptions {
  readonly store: StoreClient;
  /** Whether segments that are mounted at run time lie in shared memory. */
  readonly sharedMemory: boolean;
  readonly metrics: () => string;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Route {
  readonly method: string;
  /** Ends with `/` where a key follows. */
  readonly path: string;
  /** Answered also while too much else is under way. */
  readonly isSignOfLife?: true;
  act(request: RestRequest): Promise<Answer>;
}

interface RestRequest {
  readonly key: string;
  readonly body: () => Promise<Record<string, unknown>>;
  /** Says that so many bytes are held until the answer has left. Throws `OVERLOADED`. */
  readonly hold: (byteCount: number) => void;
}

const bodyByteCountMax = 100 * 2 ** 20;
const valueByteCountMax = 2 ** 30;
const graceMaxS = 3_600;
/** Requests under way at a time; one more is refused. */
const runningCountMax = 256;
/** Of bodies that come and values that leave, for clients of any speed. */
const heldByteCountMax = 2 ** 30;

/**
 * The REST interface of `mooncake_store_service`: its paths, bodies and statuses; besides `/health`,
 * `/ready` and `/metrics`.
 *
 * Differences: a body beyond 100 MiB is answered with 413, what is too much at once with 503, and the calls that map a file of somebody
 * else's (`mount_shm`, `unmount_shm`, `reconfigure`) with 501.
 */
export class RestApi {
  readonly #options: RestApiOptions;
  readonly #routes: readonly Route[];
  #runningCount = 0;
  #heldByteCount = 0;

  constructor(options: RestApiOptions) {
    this.#options = options;
    const unsupported = async (): Promise<Answer> =>
      failure(501, 'this node lends only memory that it allocates itself; use /api/mount');
    this.#routes = [
      { method: 'PUT', path: '/api/put', act: (request) => this.#put(request) },
      { method: 'GET', path: '/api/get/', act: (request) => this.#get(request) },
      { method: 'GET', path: '/api/exist/', act: (request) => this.#exist(request) },
      { method: 'DELETE', path: '/api/remove/', act: (request) => this.#remove(request) },
      { method: 'DELETE', path: '/api/remove_all', act: () => this.#removeAll() },
      { method: 'POST', path: '/api/mount', act: (request) => this.#mount(request) },
      { method: 'POST', path: '/api/unmount', act: (request) => this.#unmount(request) },
      {
        method: 'POST',
        path: '/api/unmount_local_disk',
        act: (request) => this.#unmountLocalDisk(request),
      },
      { method: 'POST', path: '/api/mount_shm', act: unsupported },
      { method: 'POST', path: '/api/unmount_shm', act: unsupported },
      { method: 'POST', path: '/api/reconfigure', act: unsupported },
      { method: 'GET', path: '/health', isSignOfLife: true, act: async () => text(200, 'OK') },
      { method: 'GET', path: '/ready', isSignOfLife: true, act: async () => this.#ready() },
      {
        method: 'GET',
        path: '/metrics',
        isSignOfLife: true,
        act: async () => text(200, options.metrics()),
      },
    ];
  }

  /** The listener of an HTTP server. */
  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    void this.#serve(request, response);
  };

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let heldByteCount = 0;
    const hold = (byteCount: number) => {
      if (this.#heldByteCount + byteCount > heldByteCountMax) {
        throw new Fault('OVERLOADED', 'too many bytes are under way at once');
      }
      this.#heldByteCount += byteCount;
      heldByteCount += byteCount;
    };
    const answer = await this.#answer(request, hold);
    await sendAnswer(response, answer, request.method !== 'HEAD', this.#options.clock);
    this.#heldByteCount -= heldByteCount;
  }

  async #answer(request: IncomingMessage, hold: RestRequest['hold']): Promise<Answer> {
    try {
      return await this.#route(request, hold);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (Fault.has(error, 'OVERLOADED')) return failure(503, reason);
      if (!Fault.has(error, 'TOO_LARGE', 'CANCELLED', 'INVALID_ARGUMENT')) {
        this.#options.logger.warn('store.rest_failed', { path: request.url, reason });
      }
      return failure(Fault.has(error, 'TOO_LARGE') ? 413 : 500, reason);
    }
  }

  async #route(request: IncomingMessage, hold: RestRequest['hold']): Promise<Answer> {
    const path = (request.url ?? '/').split('?', 1)[0] as string;
    const routes = this.#routes.filter((route) =>
      route.path.endsWith('/')
        ? path.startsWith(route.path) && /^[^/]+$/.test(path.slice(route.path.length))
        : path === route.path,
    );
    if (routes.length === 0) return text(404, '404: Not Found');
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const route = routes.find((each) => each.method === method);
    if (route === undefined) return text(405, '405: Method Not Allowed');
    if (this.#runningCount >= runningCountMax && route.isSignOfLife !== true) {
      throw new Fault('OVERLOADED', 'too many requests at once');
    }
    this.#runningCount += 1;
    try {
      return await route.act({
        key: keyOf(path.slice(route.path.length)),
        body: () => this.#body(request, hold),
        hold,
      });
    } finally {
      this.#runningCount -= 1;
    }
  }

  async #body(
    request: IncomingMessage,
    hold: RestRequest['hold'],
  ): Promise<Record<string, unknown>> {
    const declared = Number(request.headers['content-length'] ?? bodyByteCountMax);
    if (declared <= bodyByteCountMax) hold(declared);
    // Whoever sends slowly must not keep others from being answered.
    this.#runningCount -= 1;
    try {
      const body = await readJsonBody(request, bodyByteCountMax);
      if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
        return body as Record<string, unknown>;
      }
      throw new Fault('INVALID_ARGUMENT', 'the body is not a JSON object');
    } finally {
      this.#runningCount += 1;
    }
  }

  #ready(): Answer {
    const { disk, state } = this.#options.store;
    const isWithoutDisk = state === 'serving' && disk !== null && !disk.isSettled;
    if (isWithoutDisk) return json(503, { status: 'introducing its disk' });
    return json(state === 'serving' ? 200 : 503, { status: state });
  }

  async #put({ body }: RestRequest): Promise<Answer> {
    const { key, value } = await body();
    if (!key || value === undefined || value === null) return failure(400, 'Missing key or value');
    if (typeof key !== 'string' || typeof value !== 'string') {
      return failure(500, 'key and value are strings');
    }
    const outcome = await this.#options.store.objects.put(key, Buffer.from(value));
    return 'ok' in outcome ? success() : failure(500, 'PUT operation failed');
  }

  async #get({ key, hold }: RestRequest): Promise<Answer> {
    const { store } = this.#options;
    const [found = { error: ErrorCode.RPC_FAIL }] = await store.objects.find([key]);
    if ('error' in found) return notFound(found.error);
    const { byteCount } = found.ok;
    if (byteCount > valueByteCountMax) return failure(500, 'GET operation failed');
    hold(byteCount);
    const body = Buffer.allocUnsafe(byteCount);
    const outcome = await store.read(found.ok, body);
    if (outcome !== 'read') return failure(500, 'GET operation failed');
    return { status: 200, type: 'application/octet-stream', body };
  }

  async #exist({ key }: RestRequest): Promise<Answer> {
    const outcome = await this.#options.store.objects.exist(key);
    if ('ok' in outcome) return json(200, { exists: outcome.ok });
    if (outcome.error === ErrorCode.REPLICA_IS_NOT_READY) return json(200, { exists: false });
    return failure(500, 'Exist check failed');
  }

  async #remove({ key }: RestRequest): Promise<Answer> {
    const outcome = await this.#options.store.objects.remove(key);
    return 'ok' in outcome ? success() : failure(500, 'Remove operation failed');
  }

  async #removeAll(): Promise<Answer> {
    const outcome = await this.#options.store.objects.removeAll();
    if ('error' in outcome) return failure(500, 'RemoveAll operation failed');
    return json(200, { status: `success removed ${outcome.ok} keys` });
  }

  async #mount({ body }: RestRequest): Promise<Answer> {
    const { size } = await body();
    if (!Number.isSafeInteger(size) || (size as number) <= 0) {
      return failure(400, 'Invalid size, must be a positive integer');
    }
    const { sharedMemory: shared, store } = this.#options;
    const byteCount = size as number;
    const outcome = await store.segments.mount({ byteCount, shared });
    if ('error' in outcome) {
      return failure(500, `Allocate and mount failed, ret=${outcome.error}`);
    }
    return json(200, { status: 'success', segment_ids: [outcome.ok], allocated_size: byteCount });
  }

  async #unmount({ body }: RestRequest): Promise<Answer> {
    const { segment_ids: given = [], grace_period_seconds: graceS = 0 } = await body();
    const ids = typeof given === 'string' ? [given] : given;
    if (!Array.isArray(ids) || ids.length === 0) return failure(400, 'Missing segment_ids');
    const graceMs = graceOf(graceS);
    if (graceMs === null) return failure(500, 'grace_period_seconds is a number of seconds');
    let firstError: number | null = null;
    for (const text of ids) {
      const id = parseUuid(String(text), 'segment_ids');
      const outcome = await this.#options.store.segments.unmount(id, { graceMs });
      if ('error' in outcome) firstError ??= outcome.error;
    }
    if (firstError !== null) return failure(500, `Unmount and free failed, ret=${firstError}`);
    return success();
  }

  async #unmountLocalDisk({ body }: RestRequest): Promise<Answer> {
    let fields: Record<string, unknown>;
    try {
      fields = await body();
    } catch (error) {
      if (!Fault.has(error, 'INVALID_ARGUMENT')) throw error;
      const isJson = error.details['code'] === undefined;
      return failure(400, isJson ? 'Request body must be a JSON object' : 'Malformed JSON body');
    }
    const graceMs = graceOf(fields['grace_period_seconds'] ?? 0);
    if (graceMs === null) {
      const reason = `Invalid grace_period_seconds, must be a non-negative integer no greater than ${graceMaxS}`;
      return failure(400, reason);
    }
    const outcome = await this.#options.store.segments.unmountLocalDisk();
    if ('error' in outcome) return failure(500, `Unmount local disk failed, ret=${outcome.error}`);
    await sleep(this.#options.clock, graceMs);
    return success();
  }
}

function notFound(error: number): Answer {
  switch (error) {
    case ErrorCode.OBJECT_NOT_FOUND:
    case ErrorCode.REPLICA_IS_NOT_READY:
      return failure(404, 'Key not found');
    case ErrorCode.RPC_FAIL:
    case ErrorCode.INVALID_PARAMS:
      return failure(500, 'Exist check failed');
    default:
      return failure(500, 'GET operation failed');
  }
}

/** Null for what is no number of seconds between 0 and an hour. */
function graceOf(seconds: unknown): number | null {
  const isGrace = Number.isSafeInteger(seconds) && (seconds as number) >= 0;
  return isGrace && (seconds as number) <= graceMaxS ? (seconds as number) * 1_000 : null;
}

function keyOf(escaped: string): string {
  try {
    return decodeURIComponent(escaped);
  } catch {
    return escaped;
  }
}

function text(status: number, body: string): Answer {
  return { status, type: 'text/plain; charset=utf-8', body: Buffer.from(body) };
}
