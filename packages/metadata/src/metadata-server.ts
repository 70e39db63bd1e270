import { getRequestListener } from '@hono/node-server';
import { type Clock, HttpService, type Logger, type Service } from '@tsukimi/base';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { parseRpcMeta, type RpcMeta } from './descriptor.ts';
import { parseJson } from './json.ts';
import { acceptsConnections } from './liveness.ts';
import { type MetadataLimits, MetadataTable } from './metadata-table.ts';

export interface MetadataServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly valueBytesMax?: number;
  readonly limits?: Partial<MetadataLimits>;
  /** Whether the engine behind an rpc_meta value is still there; by default its port is tried. */
  readonly isAlive?: (meta: RpcMeta) => Promise<boolean>;
}

/** How many liveness questions may be open; beyond that a duplicate is refused without asking. */
const probeCountMax = 16;
const probeLimitMs = 200;

const defaultLimits: MetadataLimits = {
  keyBytesMax: 4_096,
  keyCountMax: 100_000,
  totalBytesMax: 256 * 2 ** 20,
};

/**
 * Mooncake's HTTP metadata server, with the answers of the one inside `mooncake_master`. It decodes
 * keys, and one thing is ours: an rpc_meta value whose engine no longer accepts connections
 * gives way, so that a crashed engine can come back under its name.
 */
export class MetadataServer implements Service {
  readonly name = 'metadata server';
  readonly #options: MetadataServerOptions;
  readonly #table: MetadataTable;
  readonly #http: HttpService;
  #probeCount = 0;

  constructor(options: MetadataServerOptions) {
    this.#options = options;
    const limits = { ...defaultLimits, ...options.limits };
    this.#table = new MetadataTable(limits);
    const listen = getRequestListener(this.#app(limits.keyBytesMax).fetch);
    this.#http = new HttpService({
      name: this.name,
      host: options.host,
      port: options.port,
      listener: (request, response) => void listen(request, response),
    });
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return this.#http.port;
  }

  async start(): Promise<void> {
    await this.#http.start();
    this.#options.logger.info('metadata.listening', { host: this.#options.host, port: this.port });
  }

  ended(): Promise<void> {
    return this.#http.ended();
  }

  stop(deadline: AbortSignal): Promise<void> {
    return this.#http.stop(deadline);
  }

  #app(keyBytesMax: number): Hono {
    const app = new Hono();
    const { valueBytesMax = 2 ** 20 } = this.#options;
    app.get('/health', (context) => context.text('OK'));
    app.use('/metadata', async (context, next) => {
      const key = context.req.query('key') ?? '';
      if (key === '') return context.text('Missing key parameter', 400);
      if (Buffer.byteLength(key) > keyBytesMax) return context.text('metadata key too long', 414);
      return next();
    });
    app.get('/metadata', (context) => {
      const value = this.#table.get(context.req.query('key') as string);
      if (value === null) return context.text('metadata not found', 404);
      return context.body(new Uint8Array(value), 200, { 'content-type': 'application/json' });
    });
    app.put(
      '/metadata',
      bodyLimit({
        maxSize: valueBytesMax,
        onError: (context) => context.text('metadata value too large', 413),
      }),
      async (context) => {
        const key = context.req.query('key') as string;
        const value = Buffer.from(await context.req.arrayBuffer());
        switch (await this.#put(key, value)) {
          case 'updated':
            return context.text('metadata updated');
          case 'unchanged':
            return context.text('metadata unchanged');
          case 'duplicate':
            return context.text('Duplicate rpc_meta key not allowed', 400);
          case 'full':
            return context.text('metadata server is full', 507);
        }
      },
    );
    app.delete('/metadata', (context) => {
      const removed = this.#table.remove(context.req.query('key') as string);
      return removed ? context.text('metadata deleted') : context.text('metadata not found', 404);
    });
    app.notFound((context) => context.text('404 Not Found', 404));
    app.onError((error, context) => {
      this.#options.logger.warn('metadata.request-failed', { reason: error.message });
      return context.text('request failed', 400);
    });
    return app;
  }

  async #put(key: string, value: Buffer): Promise<ReturnType<MetadataTable['put']>> {
    const outcome = this.#table.put(key, value);
    if (outcome !== 'duplicate') return outcome;
    const old = this.#table.get(key);
    if (old === null || !(await this.#isGone(old))) return 'duplicate';
    this.#options.logger.info('metadata.engine-replaced', { key });
    // Somebody else may have been quicker: the table takes the value only in place of `old`.
    return this.#table.put(key, value, old);
  }

  async #isGone(value: Buffer): Promise<boolean> {
    if (this.#probeCount >= probeCountMax) return false;
    let meta: RpcMeta;
    try {
      meta = parseRpcMeta(parseJson(value.toString('utf8'), 'rpc_meta'), 'rpc_meta');
    } catch {
      // A value that no engine can read belongs to no engine.
      return true;
    }
    const { clock, isAlive } = this.#options;
    this.#probeCount += 1;
    try {
      return !(await (isAlive === undefined
        ? acceptsConnections({ host: meta.host, port: meta.rpcPort }, clock, probeLimitMs)
        : isAlive(meta)));
    } finally {
      this.#probeCount -= 1;
    }
  }
}
