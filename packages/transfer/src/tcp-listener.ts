import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { listenFault } from '@tsukimi/base';

export interface TcpListenerOptions {
  /** In errors. */
  readonly name: string;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly connectionCountMax: number;
  /** Connections are handed over before anything is read from them. */
  readonly isPaused?: boolean;
  readonly onConnection: (socket: Socket) => void;
  readonly onDeath: (error: unknown) => void;
}

/** Accepts connections up to a limit and closes all of them at its end. */
export class TcpListener {
  readonly #options: TcpListenerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(options: TcpListenerOptions) {
    this.#options = options;
    this.#server = createServer(
      { noDelay: true, pauseOnConnect: options.isPaused ?? false },
      (socket) => {
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
        // Peers vanish; 'close' follows and is all that matters.
        socket.on('error', () => {});
        options.onConnection(socket);
      },
    );
    this.#server.maxConnections = options.connectionCountMax;
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  start(): Promise<void> {
    const { name, host, port, onDeath } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => reject(listenFault(error, name, host, port)));
      this.#server.listen({ host, port }, () => {
        this.#server.removeAllListeners('error');
        this.#server.on('error', onDeath);
        resolve();
      });
    });
  }

  /** Accepts no more; resolves when the last connection is closed, which `deadline` enforces. */
  stop(deadline: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cut = () => {
        for (const socket of this.#sockets) socket.destroy();
      };
      this.#server.close(() => {
        deadline.removeEventListener('abort', cut);
        resolve();
      });
      if (deadline.aborted) cut();
      else deadline.addEventListener('abort', cut, { once: true });
    });
  }
}
