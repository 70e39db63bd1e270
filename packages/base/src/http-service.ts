import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Ending, listenFault, type Service } from './service.ts';

export interface HttpServiceOptions {
  readonly name: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** What answers; errors inside are the listener's own business. */
  readonly listener: (request: IncomingMessage, response: ServerResponse) => void;
  /** Headers must be complete after this long, a slow sender is cut off. */
  readonly headersTimeoutMs?: number;
  /** The whole request must be there after this long. */
  readonly requestTimeoutMs?: number;
  readonly connectionCountMax?: number;
}

/** An HTTP/1.1 server with limits against slow and many clients, and a stop that finishes answers. */
export class HttpService implements Service {
  readonly name: string;
  readonly #options: HttpServiceOptions;
  readonly #ending = new Ending();
  readonly #server: Server;
  #stopping = false;

  constructor(options: HttpServiceOptions) {
    this.name = options.name;
    this.#options = options;
    this.#server = createServer(
      {
        headersTimeout: options.headersTimeoutMs ?? 10_000,
        requestTimeout: options.requestTimeoutMs ?? 60_000,
        connectionsCheckingInterval: 1_000,
        keepAliveTimeout: 65_000,
        noDelay: true,
      },
      (request, response) => {
        // A connection that is kept alive would keep a stopping server alive with it.
        response.once('close', () => {
          if (this.#stopping) setImmediate(() => this.#server.closeIdleConnections());
        });
        options.listener(request, response);
      },
    );
    this.#server.maxConnections = options.connectionCountMax ?? 16_384;
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  start(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenFault(error, this.name, host, port)));
      this.#server.listen({ host, port }, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) => this.#ending.died(error));
        resolve();
      });
    });
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true;
    return new Promise((resolve) => {
      const cut = () => this.#server.closeAllConnections();
      this.#server.close(() => {
        deadline.removeEventListener('abort', cut);
        this.#ending.stopped();
        resolve();
      });
      this.#server.closeIdleConnections();
      if (deadline.aborted) cut();
      else deadline.addEventListener('abort', cut, { once: true });
    });
  }
}
