import type { ConnectionOptions } from 'node:tls';
import { type Clock, every, type Scheduled } from '@tsukimi/base';
import {
  type CallFailure,
  ClientConnection,
  type ConnectionUser,
  type Target,
} from './client-connection.ts';
import type { Fields } from './core/fields.ts';
import type { ResponseHead } from './core/response-head.ts';

export interface ClientRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Buffer | null;
}

/** What becomes of a call. `onEnd` or `onFailure` comes last, and nothing at all after `abort`. */
export interface ClientListener {
  onHead(status: number, headers: Fields): void;
  onData(bytes: Buffer): void;
  onEnd(): void;
  onFailure(reason: CallFailure, message: string): void;
}

export interface ClientCall {
  /** Closes the connection, by which the server learns that nobody waits any more. */
  abort(): void;
  pause(): void;
  resume(): void;
}

export interface HttpClientOptions {
  readonly clock: Clock;
  readonly connectMs: number;
  /** Idle connections kept to one origin. */
  readonly idleConnectionCountMax: number;
  /** For `https://`; the authorities and names that Node knows by default. */
  readonly tls?: ConnectionOptions;
}

/** Without a promise by the server: many close after 5 s. */
const idleMs = 4_000;
const idleMsMax = 10_000;
/** A connection is not used in the last moments before the server closes it. */
const idleMarginMs = 1_000;
const sweepMs = 1_000;
const forbiddenInHead = /[^\t\x20-\x7e\x80-\xff]/;

/** All of one origin. */
interface Pool {
  readonly target: Target;
  /** The one used last is last. */
  readonly idle: ClientConnection[];
}

/**
 * HTTP over kept connections: the one used last is used first, so that few stay open. A call that
 * finds its kept connection closed by the other side is sent once more.
 */
export class HttpClient {
  readonly #options: HttpClientOptions;
  readonly #pools = new Map<string, Pool>();
  readonly #all = new Set<ClientConnection>();
  #sweeping: Scheduled | null = null;
  #closed = false;

  constructor(options: HttpClientOptions) {
    this.#options = options;
  }

  /** `origin`: `http://host:port`, or `https://`, without the port where it is the scheme's own. */
  send(
    to: { readonly origin: string },
    request: ClientRequest,
    listener: ClientListener,
  ): ClientCall {
    const call = new Call(this, this.#poolOf(to.origin), request, listener);
    if (this.#closed) queueMicrotask(() => call.onFailure('connect', 'the client is closed', true));
    else call.begin();
    return call;
  }

  /** Connections now open or being opened. */
  get connectionCount(): number {
    return this.#all.size;
  }

  /** Closes the connections there that nobody uses. */
  dropIdle(origin: string): void {
    const idle = this.#pools.get(origin)?.idle.splice(0) ?? [];
    for (const connection of idle) connection.destroy();
  }

  /** Closes all connections there; the calls over them fail. */
  drop(origin: string): void {
    const pool = this.#pools.get(origin);
    this.#pools.delete(origin);
    for (const connection of this.#all) {
      if (connection.target === pool?.target) connection.cut('the server was removed');
    }
  }

  /** Cuts whatever is still running, and takes no more. */
  close(): void {
    this.#closed = true;
    this.#sweeping?.cancel();
    for (const connection of this.#all) connection.cut('the client was closed');
  }

  /** For calls only. */
  take(pool: Pool): ClientConnection {
    for (;;) {
      const connection = pool.idle.pop();
      if (connection === undefined) return this.fresh(pool);
      if (!this.#isStale(connection)) return connection;
      connection.destroy();
    }
  }

  /** For calls only. */
  fresh(pool: Pool): ClientConnection {
    const { clock, connectMs } = this.#options;
    this.#sweeping ??= every(clock, sweepMs, () => this.#sweep());
    const connection = new ClientConnection(pool.target, clock, connectMs, () => {
      this.#all.delete(connection);
      const at = pool.idle.indexOf(connection);
      if (at >= 0) pool.idle.splice(at, 1);
    });
    this.#all.add(connection);
    return connection;
  }

  /** For calls only. */
  giveBack(pool: Pool, connection: ClientConnection): void {
    if (pool.idle.length >= this.#options.idleConnectionCountMax) {
      connection.destroy();
      return;
    }
    connection.idleSinceMs = this.#options.clock.monotonicMs();
    pool.idle.push(connection);
  }

  #isStale({ idleSinceMs, keptForMs }: ClientConnection): boolean {
    const limitMs = keptForMs === null ? idleMs : Math.min(idleMsMax, keptForMs - idleMarginMs);
    return this.#options.clock.monotonicMs() - idleSinceMs >= limitMs;
  }

  #sweep(): void {
    for (const { idle } of this.#pools.values()) {
      const firstFresh = idle.findIndex((connection) => !this.#isStale(connection));
      const stale = idle.splice(0, firstFresh < 0 ? idle.length : firstFresh);
      for (const connection of stale) connection.destroy();
    }
  }

  #poolOf(origin: string): Pool {
    let pool = this.#pools.get(origin);
    if (pool === undefined) {
      pool = { target: targetOf(origin, this.#options.tls), idle: [] };
      this.#pools.set(origin, pool);
    }
    return pool;
  }
}

class Call implements ClientCall, ConnectionUser {
  readonly #client: HttpClient;
  readonly #pool: Pool;
  readonly #request: ClientRequest;
  readonly #listener: ClientListener;
  #connection: ClientConnection | null = null;
  #retried = false;

  constructor(client: HttpClient, pool: Pool, request: ClientRequest, listener: ClientListener) {
    this.#client = client;
    this.#pool = pool;
    this.#request = request;
    this.#listener = listener;
  }

  begin(): void {
    this.#send(this.#client.take(this.#pool));
  }

  abort(): void {
    this.#connection?.destroy();
    this.#connection = null;
  }

  pause(): void {
    this.#connection?.pause();
  }

  resume(): void {
    this.#connection?.resume();
  }

  onHead(head: ResponseHead): void {
    this.#listener.onHead(head.status, head.headers);
  }

  onData(bytes: Buffer): void {
    this.#listener.onData(bytes);
  }

  onEnd(works: boolean): void {
    const connection = this.#connection;
    this.#connection = null;
    if (works && connection !== null) {
      // A slow client may have paused it before its last bytes came.
      connection.resume();
      this.#client.giveBack(this.#pool, connection);
    } else connection?.destroy();
    this.#listener.onEnd();
  }

  onFailure(reason: CallFailure, message: string, unanswered: boolean): void {
    const servedCount = this.#connection?.servedCount ?? 0;
    this.#connection = null;
    if (reason === 'reset' && unanswered && servedCount > 0 && !this.#retried) {
      this.#retried = true;
      this.#send(this.#client.fresh(this.#pool));
    } else this.#listener.onFailure(reason, message);
  }

  #send(connection: ClientConnection): void {
    this.#connection = connection;
    const { method, body } = this.#request;
    connection.begin(this, method, headOf(this.#request, this.#pool.target.authority), body);
  }
}

function headOf({ method, path, headers, body }: ClientRequest, authority: string): string {
  let head = `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n`;
  for (let at = 0; at < headers.length; at += 2) {
    const value = headers[at + 1] as string;
    if (forbiddenInHead.test(value)) throw new TypeError(`the header ${headers[at]} is no header`);
    head += `${headers[at]}: ${value}\r\n`;
  }
  return body === null ? `${head}\r\n` : `${head}content-length: ${body.length}\r\n\r\n`;
}

function targetOf(origin: string, tls: ConnectionOptions = {}): Target {
  const { protocol, hostname, port, host } = new URL(origin);
  const isTls = protocol === 'https:';
  const bareHost = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
  // Names are told to servers (SNI); addresses may not be.
  const named = /^[\d.]+$|:/.test(bareHost) ? {} : { servername: bareHost };
  return {
    host: bareHost,
    port: Number(port) || (isTls ? 443 : 80),
    authority: host,
    tls: isTls ? { ALPNProtocols: ['http/1.1'], ...named, ...tls } : null,
  };
}
