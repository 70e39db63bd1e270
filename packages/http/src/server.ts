import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type Server as TlsServer,
} from 'node:tls';
import {
  type Clock,
  Ending,
  every,
  type Fault,
  listenFault,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import { type ConnectionHost, ServerConnection, type ServerLimits } from './server-connection.ts';
import type { ServerRequest } from './server-request.ts';
import type { ServerResponse } from './server-response.ts';

export interface HttpServerOptions {
  readonly name: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly clock: Clock;
  /** What answers; errors inside are the listener's own business. */
  readonly listener: (request: ServerRequest, response: ServerResponse) => void;
  /** The JSON body of an answer to what was no request. */
  readonly refusalBody: (fault: Fault) => string;
  /** Certificate and key, for HTTPS. */
  readonly secureContext?: SecureContextOptions;
  readonly connectionCountMax?: number;
  readonly limits?: Partial<ServerLimits>;
}

const defaultLimits: ServerLimits = {
  headMs: 10_000,
  bodyMs: 30_000,
  bodyStepByteCount: 16_384,
  idleMs: 65_000,
  stallMs: 120_000,
  lingerMs: 5_000,
  headByteCountMax: 16_384,
  fieldCountMax: 128,
  aheadByteCountMax: 65_536,
};

/** Clients beyond the limit that are told so at once; still more are cut without a word. */
const turnedAwayCountMax = 1_024;

/**
 * A strict HTTP/1.1 server with limits against slow and many clients, and a stop that finishes answers.
 * All deadlines of all connections are watched by one look at them, once in a while.
 */
export class HttpServer implements Service, ConnectionHost {
  readonly name: string;
  readonly limits: ServerLimits;
  readonly #options: HttpServerOptions;
  readonly #ending = new Ending();
  readonly #server: Server | TlsServer;
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Map<Socket, ServerConnection>();
  readonly #turnedAway = new Set<Socket>();
  #looking: Scheduled | null = null;
  #nowMs = 0;
  #date = '';
  #stopping = false;

  constructor(options: HttpServerOptions) {
    this.name = options.name;
    this.#options = options;
    this.limits = { ...defaultLimits, ...options.limits };
    this.#server = this.#created();
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connectionCount(): number {
    return this.#sockets.size;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get date(): string {
    return this.#date;
  }

  get stopping(): boolean {
    return this.#stopping;
  }

  handle(request: ServerRequest, response: ServerResponse): void {
    this.#options.listener(request, response);
  }

  refusalBody(fault: Fault): string {
    return this.#options.refusalBody(fault);
  }

  /** For connections from now on. Throws when certificate and key do not fit. */
  setSecureContext(context: SecureContextOptions): void {
    (this.#server as TlsServer).setSecureContext(context);
  }

  start(): Promise<void> {
    const { host, port, clock } = this.#options;
    this.#tick();
    const { headMs, bodyMs, idleMs, stallMs, lingerMs } = this.limits;
    const periodMs = Math.min(1_000, Math.min(headMs, bodyMs, idleMs, stallMs, lingerMs) / 4);
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenFault(error, this.name, host, port)));
      this.#server.listen({ host, port, backlog: 4_096 }, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', (error) => this.#ending.died(error));
        this.#looking = every(clock, periodMs, () => this.#look());
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
      const cut = () => {
        for (const socket of this.#sockets) socket.destroy();
      };
      this.#server.close(() => {
        deadline.removeEventListener('abort', cut);
        this.#looking?.cancel();
        this.#ending.stopped();
        resolve();
      });
      for (const socket of this.#turnedAway) socket.destroy();
      for (const connection of this.#connections.values()) {
        if (connection.isIdle) connection.destroy();
      }
      if (deadline.aborted) cut();
      else deadline.addEventListener('abort', cut, { once: true });
    });
  }

  #created(): Server | TlsServer {
    const { secureContext } = this.#options;
    const served = (socket: Socket) => {
      const connection = new ServerConnection(socket, this);
      this.#connections.set(socket, connection);
      socket.once('close', () => this.#connections.delete(socket));
    };
    const common = { noDelay: true, highWaterMark: 65_536 };
    if (secureContext === undefined) {
      const server = createServer(common);
      server.on('connection', (socket) => {
        if (this.#admits(socket)) served(socket);
        else this.#turnAway(socket);
      });
      return server;
    }
    const server = createTlsServer({
      ...common,
      ...secureContext,
      handshakeTimeout: this.limits.headMs,
      ALPNProtocols: ['http/1.1'],
    });
    server.on('connection', (socket: Socket) => {
      if (!this.#admits(socket)) socket.destroy();
    });
    server.on('secureConnection', served);
    server.on('tlsClientError', () => {});
    return server;
  }

  #admits(socket: Socket): boolean {
    if (this.#sockets.size >= (this.#options.connectionCountMax ?? 16_384)) return false;
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return true;
  }

  #turnAway(socket: Socket): void {
    socket.on('error', () => {});
    socket.once('close', () => this.#turnedAway.delete(socket));
    if (this.#turnedAway.size >= turnedAwayCountMax) {
      socket.destroy();
      return;
    }
    this.#turnedAway.add(socket);
    const head = 'HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n';
    socket.end(`${head}content-length: 0\r\nconnection: close\r\n\r\n`);
    socket.resume();
  }

  #look(): void {
    this.#tick();
    for (const connection of this.#connections.values()) connection.look(this.#nowMs);
    // They had a moment to read why.
    for (const socket of this.#turnedAway) socket.destroy();
  }

  #tick(): void {
    this.#nowMs = this.#options.clock.monotonicMs();
    this.#date = new Date(this.#options.clock.wallMs()).toUTCString();
  }
}
