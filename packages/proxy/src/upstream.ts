import type { Clock, Scheduled } from '@tsukimi/base';
import { Client, type Dispatcher } from 'undici';
import type { FailureReason, PoolInstance } from './core/pool-instance.ts';

export interface UpstreamRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Buffer | null;
}

export type UpstreamHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** What becomes of a call. `onEnd` or `onFailure` comes last, and nothing at all after `abort`. */
export interface UpstreamListener {
  onHead(status: number, headers: UpstreamHeaders): void;
  onData(bytes: Buffer): void;
  onEnd(): void;
  onFailure(reason: FailureReason, message: string): void;
}

export interface UpstreamCall {
  /** Closes the connection, by which the instance learns that nobody waits any more. */
  abort(): void;
  pause(): void;
  resume(): void;
}

export interface UpstreamOptions {
  readonly clock: Clock;
  readonly connectMs: number;
  readonly idleConnectionCountMax: number;
}

const idleConnectionMs = 10_000;

/** A connection that may be idle, and whether a call over it has ended well since it was opened. */
interface Connection {
  readonly client: Client;
  readonly origin: string;
  reused: boolean;
  /** What runs over it; null while it is idle. */
  call: Call | null;
}

/**
 * HTTP to all instances over kept connections: the one used last is used first, so that few stay
 * open. A call that finds its kept connection closed by the other side is sent once more.
 */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #idle = new Map<string, Connection[]>();
  readonly #all = new Set<Connection>();

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  send(
    instance: Pick<PoolInstance, 'origin'>,
    request: UpstreamRequest,
    listener: UpstreamListener,
  ): UpstreamCall {
    const call = new Call(this, this.#options, instance.origin, request, listener);
    call.begin(this.#take(instance.origin));
    return call;
  }

  /** Connections now open or being opened. */
  get connectionCount(): number {
    return this.#all.size;
  }

  /** Closes the connections there that nobody uses. */
  dropIdle(origin: string): void {
    const idle = this.#idle.get(origin) ?? [];
    this.#idle.delete(origin);
    for (const connection of idle) this.#discard(connection);
  }

  /** Closes all connections there; the calls over them fail. */
  drop(origin: string): void {
    this.dropIdle(origin);
    for (const connection of this.#all) {
      if (connection.origin === origin) connection.call?.cut('the instance was removed');
    }
  }

  /** Cuts whatever is still running. */
  async close(): Promise<void> {
    this.#idle.clear();
    await Promise.all([...this.#all].map(({ client }) => client.destroy()));
    this.#all.clear();
  }

  #take(origin: string): Connection {
    return this.#idle.get(origin)?.pop() ?? this.fresh(origin);
  }

  #discard(connection: Connection): void {
    this.#all.delete(connection);
    connection.client.destroy().catch(() => {});
  }

  /** For `Call` only. */
  fresh(origin: string): Connection {
    const client = new Client(origin, {
      // Deadlines are the proxy's own, on its clock.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { timeout: 0 },
      pipelining: 1,
      // Instances offer to keep connections for a minute: after a burst that would be many, for nothing.
      keepAliveMaxTimeout: idleConnectionMs,
    });
    const connection: Connection = { client, origin, reused: false, call: null };
    client.on('connect', () => {
      connection.reused = false;
    });
    this.#all.add(connection);
    return connection;
  }

  /** For `Call` only: keeps a connection that works, drops one that does not. */
  giveBack(connection: Connection, works: boolean): void {
    const { origin } = connection;
    connection.call = null;
    let idle = this.#idle.get(origin);
    if (idle === undefined) {
      idle = [];
      this.#idle.set(origin, idle);
    }
    if (works && idle.length < this.#options.idleConnectionCountMax) {
      connection.reused = true;
      idle.push(connection);
      return;
    }
    this.#discard(connection);
  }
}

class Call implements UpstreamCall, Dispatcher.DispatchHandler {
  readonly #upstream: Upstream;
  readonly #options: UpstreamOptions;
  readonly #origin: string;
  readonly #request: UpstreamRequest;
  readonly #listener: UpstreamListener;
  #connection: Connection | null = null;
  #controller: Dispatcher.DispatchController | null = null;
  #connecting: Scheduled | null = null;
  #reused = false;
  #retried = false;
  #answered = false;
  #over = false;

  constructor(
    upstream: Upstream,
    options: UpstreamOptions,
    origin: string,
    request: UpstreamRequest,
    listener: UpstreamListener,
  ) {
    this.#upstream = upstream;
    this.#options = options;
    this.#origin = origin;
    this.#request = request;
    this.#listener = listener;
  }

  begin(connection: Connection): void {
    connection.call = this;
    this.#connection = connection;
    this.#controller = null;
    this.#reused = connection.reused;
    const { method, path, headers, body } = this.#request;
    connection.client.dispatch({ method, path, headers: headers as string[], body }, this);
    if (this.#controller !== null || this.#over) return;
    const { clock, connectMs } = this.#options;
    this.#connecting = clock.schedule(connectMs, () =>
      this.#fail('connect', `does not accept a connection within ${connectMs} ms`),
    );
  }

  abort(): void {
    this.#finish(false);
  }

  cut(reason: string): void {
    this.#fail('reset', reason);
  }

  pause(): void {
    this.#controller?.pause();
  }

  resume(): void {
    this.#controller?.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#connecting?.cancel();
    this.#connecting = null;
    this.#controller = controller;
    // The connection was opened for this call only if nothing kept it before.
    this.#reused = this.#connection?.reused ?? false;
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: UpstreamHeaders,
  ): void {
    if (this.#over || status < 200) return;
    this.#answered = true;
    this.#listener.onHead(status, headers);
  }

  onResponseData(_controller: Dispatcher.DispatchController, bytes: Buffer): void {
    if (!this.#over) this.#listener.onData(bytes);
  }

  onResponseEnd(): void {
    if (this.#over) return;
    this.#finish(true);
    this.#listener.onEnd();
  }

  onResponseError(_controller: unknown, error: Error): void {
    if (this.#over) return;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    const message = error.message === '' ? code || error.name : error.message;
    if (this.#controller === null) this.#fail('connect', message);
    else if (code.startsWith('HPE_')) this.#fail('malformed', message);
    else if (this.#reused && !this.#answered && !this.#retried) this.#sendAgain();
    else this.#fail('reset', message);
  }

  #sendAgain(): void {
    this.#retried = true;
    if (this.#connection !== null) {
      this.#upstream.giveBack(this.#connection, false);
    }
    this.begin(this.#upstream.fresh(this.#origin));
  }

  #fail(reason: FailureReason, message: string): void {
    if (this.#over) return;
    this.#finish(false);
    this.#listener.onFailure(reason, message);
  }

  #finish(works: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#connecting?.cancel();
    if (this.#connection !== null) {
      this.#upstream.giveBack(this.#connection, works);
    }
  }
}
