import { getRequestListener } from '@hono/node-server';
import { type Clock, HttpService, type Logger, type Service } from '@tsukimi/base';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { parseRpcMeta, type RpcMeta } from './descriptor.ts';
import { type JsonValue, parseJson } from './json.ts';
import { acceptsConnections } from './liveness.ts';
import { MetadataJournal } from './metadata-journal.ts';
import { type MetadataLimits, MetadataTable } from './metadata-table.ts';

export interface MetadataServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where what it knows is kept over restarts; null keeps it in memory alone. */
  readonly dataDirectory?: string | null;
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
 * Mooncake's HTTP metadata server, with the answers of the one inside `mooncake_master`. It decodes keys, so
 * clients that write them plain and those that encode them mean the same. Two things are ours: it can outlive
 * a restart, and an rpc_meta value whose engine no longer accepts connections gives way, so that a crashed
 * engine can come back under its name.
 */
export class MetadataServer implements Service {
  readonly name = 'metadata server';
  readonly #options: MetadataServerOptions;
  readonly #table: MetadataTable;
  readonly #journal: MetadataJournal | null;
  readonly #http: HttpService;
  #probeCount = 0;

  constructor(options: MetadataServerOptions) {
    this.#options = options;
    const limits = { ...defaultLimits, ...options.limits };
    this.#table = new MetadataTable(limits);
    const { dataDirectory = null, clock, logger } = options;
    this.#journal =
      dataDirectory === null
        ? null
        : new MetadataJournal({
            directory: dataDirectory,
            limits,
            clock,
            logger,
            entries: () => this.#table.entries(),
          });
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
    this.#journal?.replay((key, value) => {
      if (value === null) this.#table.remove(key);
      else this.#table.restore(key, value);
    });
    // After the port is taken: a second server of the same directory must not touch the file.
    await this.#http.start();
    await this.#journal?.start();
    this.#options.logger.info('metadata.listening', { host: this.#options.host, port: this.port });
  }

  ended(): Promise<void> {
    return this.#http.ended();
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.#http.stop(deadline);
    await this.#journal?.close();
  }

  async get(key: string): Promise<JsonValue | null> {
    const value = this.#table.get(key);
    return value === null ? null : parseJson(value.toString('utf8'), key);
  }

  /** Whether there was something to remove. */
  async remove(key: string): Promise<boolean> {
    if (!this.#table.remove(key)) return false;
    await this.#journal?.append(key, null);
    return true;
  }

  #app(keyBytesMax: number): Hono {
    const app = new Hono();
    const { valueBytesMax = 2 ** 20 } = this.#options;
    app.get('/health', (context) => context.text('OK'));
    app.use('/metadata', async (context, next) => {
      const key = keyOf(context.req.url);
      if (key === '') return context.text('Missing key parameter', 400);
      if (Buffer.byteLength(key) > keyBytesMax) return context.text('metadata key too long', 414);
      return next();
    });
    app.get('/metadata', (context) => {
      const value = this.#table.get(keyOf(context.req.url));
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
        const key = keyOf(context.req.url);
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
    app.delete('/metadata', async (context) => {
      const removed = await this.remove(keyOf(context.req.url));
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
    let outcome = this.#table.put(key, value);
    const old = outcome === 'duplicate' ? this.#table.get(key) : null;
    if (old !== null && (await this.#givesWay(old, value))) {
      // Somebody else may have been quicker: the table takes the value only in place of `old`.
      outcome = this.#table.put(key, value, old);
      if (outcome === 'updated') this.#options.logger.info('metadata.engine-replaced', { key });
    }
    if (outcome === 'updated') await this.#journal?.append(key, value);
    return outcome;
  }

  async #givesWay(old: Buffer, value: Buffer): Promise<boolean> {
    const meta = readRpcMeta(old);
    // A value that no engine can read belongs to no engine.
    if (meta === null) return true;
    const other = readRpcMeta(value);
    // The same engine, with another `metadata_version` (Mooncake 0.3.14).
    if (other?.host === meta.host && other.rpcPort === meta.rpcPort) return true;
    if (this.#probeCount >= probeCountMax) return false;
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

/**
 * The key of a request, decoded. Clients that do not encode mean a plus sign by a plus sign, and those that
 * encode as libcurl does never send one. A broken sequence stands for itself.
 */
function keyOf(url: string): string {
  const query = url.slice(url.indexOf('?') + 1);
  const raw = /(?:^|&)key=([^&#]*)/.exec(url.includes('?') ? query : '')?.[1] ?? '';
  return raw.replace(/(?:%[0-9a-f]{2})+/gi, (encoded) =>
    Buffer.from(encoded.replaceAll('%', ''), 'hex').toString('utf8'),
  );
}

function readRpcMeta(value: Buffer): RpcMeta | null {
  try {
    return parseRpcMeta(parseJson(value.toString('utf8'), 'rpc_meta'), 'rpc_meta');
  } catch {
    return null;
  }
}
