import { type Address, type Clock, deadline, Fault, orAborted } from '@tsukimi/base';
import type { ArgsOf, Protocol, ResultOf } from '@tsukimi/wire';
import { ClientConnection, ConnectionLost } from './client-connection.ts';

export interface RpcClientOptions<P extends Protocol> {
  readonly address: Address;
  readonly protocol: P;
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  /** For calls that name no limit of their own. */
  readonly callTimeoutMs?: number;
  /** Calls that wait for an answer; one more is refused as `OVERLOADED`. */
  readonly callCountMax?: number;
  readonly frameByteCountMax?: number;
}

export interface RpcCallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/**
 * Calls the methods of one server over one connection, many at a time; connects when needed.
 *
 * A call that finds its connection closed by the other side before anything came back is sent once
 * more on a new one. That is safe for Mooncake's master, whose calls may all be repeated.
 */
export class RpcClient<P extends Protocol> {
  readonly #options: RpcClientOptions<P>;
  #connection: ClientConnection | null = null;
  #connecting: Promise<ClientConnection> | null = null;
  #isClosed = false;

  constructor(options: RpcClientOptions<P>) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#connection?.isOpen ?? false;
  }

  /**
   * Rejects with `PEER_UNREACHABLE`, `DEADLINE_PASSED`, `OVERLOADED`, `MALFORMED` for an answer we
   * cannot read, `REFUSED` with the RPC error in `details.code`, or the reason of `signal`.
   */
  async call<K extends keyof P & string>(
    name: K,
    args: ArgsOf<P[K]>,
    { signal, timeoutMs = this.#options.callTimeoutMs ?? 5_000 }: RpcCallOptions = {},
  ): Promise<ResultOf<P[K]>> {
    const method = this.#options.protocol[name] as Protocol[string];
    const limit = deadline(this.#options.clock, timeoutMs, `call of ${name}`, signal);
    try {
      for (let isFirst = true; ; isFirst = false) {
        const connection = await this.#connected(limit.signal);
        try {
          return (await connection.call(method, args, limit.signal)) as ResultOf<P[K]>;
        } catch (error) {
          const lost = error instanceof ConnectionLost;
          if (!lost) throw error;
          if (!isFirst || !error.mayRepeat) throw this.#unreachable(error);
        }
      }
    } finally {
      limit.release();
    }
  }

  /** Calls under way fail as `CANCELLED`, and so do later ones. */
  close(): void {
    this.#isClosed = true;
    this.#connection?.close(new Fault('CANCELLED', 'the RPC client is closed'));
  }

  async #connected(signal: AbortSignal): Promise<ClientConnection> {
    if (this.#isClosed) throw new Fault('CANCELLED', 'the RPC client is closed');
    if (this.#connection?.isOpen) return this.#connection;
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null;
    });
    return await orAborted(this.#connecting, signal);
  }

  async #connect(): Promise<ClientConnection> {
    const { address, clock, connectTimeoutMs = 1_000 } = this.#options;
    const limit = deadline(clock, connectTimeoutMs, 'connecting');
    try {
      const connection = await ClientConnection.open(address, limit.signal, {
        callCountMax: this.#options.callCountMax ?? 4_096,
        frameByteCountMax: this.#options.frameByteCountMax ?? 64 * 2 ** 20,
      });
      if (this.#isClosed) {
        const closed = new Fault('CANCELLED', 'the RPC client is closed');
        connection.close(closed);
        throw closed;
      }
      this.#connection = connection;
      return connection;
    } catch (error) {
      if (Fault.has(error, 'CANCELLED')) throw error;
      throw this.#unreachable(error);
    } finally {
      limit.release();
    }
  }

  #unreachable(cause: unknown): Fault {
    const { host, port } = this.#options.address;
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new Fault('PEER_UNREACHABLE', `${host}:${port} cannot be reached: ${reason}`, { cause });
  }
}
