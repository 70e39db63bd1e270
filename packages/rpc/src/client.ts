import {
  type Address,
  type CancelSignal,
  type Clock,
  deadline,
  Fault,
  orAborted,
} from '@tsukimi/base';
import type { ArgsOf, Protocol, ResultOf } from '@tsukimi/wire';
import { ClientConnection, ConnectionLost } from './client-connection.ts';

export interface RpcClientOptions<P extends Protocol> {
  readonly address: Address;
  /** What the server speaks, until `speak` says otherwise. A release may lack calls. */
  readonly protocol: Partial<P>;
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  /** For calls that name no limit of their own. */
  readonly callTimeoutMs?: number;
  /** Calls whose answers are still to come; one more is refused as `OVERLOADED`. */
  readonly callCountMax?: number;
  readonly frameByteCountMax?: number;
  /** A connection on which calls end at their deadlines and nothing at all came back for so long is given up. */
  readonly silenceMaxMs?: number;
}

export interface RpcCallOptions {
  readonly signal?: CancelSignal | undefined;
  /** Null where `signal` fires in time. */
  readonly timeoutMs?: number | null;
  /** Bytes behind the arguments, for a server that knows them; others ignore them. */
  readonly appendix?: Buffer | undefined;
}

/**
 * Calls the methods of one server over one connection, many at a time; connects when needed.
 *
 * A call sent on a connection that turns out to have been closed while it was idle is sent once more on
 * a new one. A server that dies in that very moment may have run it already. All calls that Tsukimi makes
 * to a master may be repeated: a second `PutStart` finds the object there, and the writer then computes
 * or waits as it does for any key that another writer is at.
 */
export class RpcClient<P extends Protocol> {
  readonly #options: RpcClientOptions<P>;
  readonly #closing = new AbortController();
  #protocol: Partial<P>;
  #connection: ClientConnection | null = null;
  #connecting: Promise<ClientConnection> | null = null;

  constructor(options: RpcClientOptions<P>) {
    this.#options = options;
    this.#protocol = options.protocol;
  }

  get isConnected(): boolean {
    return this.#connection?.isOpen ?? false;
  }

  /** Makes later calls in the layouts of another release. */
  speak(protocol: Partial<P>): void {
    this.#protocol = protocol;
  }

  /**
   * Rejects with `PEER_UNREACHABLE`, `DEADLINE_PASSED`, `OVERLOADED`, `MALFORMED` for an answer we
   * cannot read, `REFUSED` with the RPC error in `details.code`, `UNSUPPORTED` for a call that the
   * server's release does not have, or the reason of `signal`.
   */
  async call<K extends keyof P & string>(
    name: K,
    args: ArgsOf<P[K]>,
    { signal, timeoutMs = this.#options.callTimeoutMs ?? 5_000, appendix }: RpcCallOptions = {},
  ): Promise<ResultOf<P[K]>> {
    const method = this.#protocol[name] as Protocol[string] | undefined;
    if (method === undefined) {
      throw new Fault('UNSUPPORTED', `the server's release does not have the call ${name}`);
    }
    const endsAtMs = timeoutMs === null ? null : this.#options.clock.monotonicMs() + timeoutMs;
    const call = { name, method, args, timeoutMs, endsAtMs, signal, appendix };
    for (let isFirst = true; ; isFirst = false) {
      const connection = this.#connection?.isOpen
        ? this.#connection
        : await this.#connected(name, endsAtMs, signal);
      try {
        return (await connection.call(call)) as ResultOf<P[K]>;
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw error;
        if (!isFirst || !error.mayRepeat) throw this.#unreachable(error);
      }
    }
  }

  /** Calls under way fail as `CANCELLED`, and so do later ones. */
  close(): void {
    const closed = new Fault('CANCELLED', 'the RPC client is closed');
    this.#closing.abort(closed);
    this.#connection?.close(closed);
  }

  /** The connection, once it stands; all calls that wait for it share one attempt. */
  async #connected(
    name: string,
    endsAtMs: number | null,
    signal: CancelSignal | undefined,
  ): Promise<ClientConnection> {
    this.#closing.signal.throwIfAborted();
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null;
    });
    const { clock } = this.#options;
    if (endsAtMs === null) {
      return await (signal === undefined ? this.#connecting : orAborted(this.#connecting, signal));
    }
    const leftMs = endsAtMs - clock.monotonicMs();
    using limit = deadline(clock, leftMs, `connecting for ${name}`, signal);
    return await orAborted(this.#connecting, limit.signal);
  }

  async #connect(): Promise<ClientConnection> {
    const { address, clock, connectTimeoutMs = 1_000 } = this.#options;
    using limit = deadline(clock, connectTimeoutMs, 'connecting', this.#closing.signal);
    try {
      this.#connection = await ClientConnection.open(address, limit.signal, {
        clock,
        callCountMax: this.#options.callCountMax ?? 4_096,
        frameByteCountMax: this.#options.frameByteCountMax ?? 64 * 2 ** 20,
        silenceMaxMs: this.#options.silenceMaxMs ?? 15_000,
      });
    } catch (error) {
      this.#closing.signal.throwIfAborted();
      throw this.#unreachable(error);
    }
    if (this.#closing.signal.aborted) this.#connection.close(this.#closing.signal.reason as Fault);
    return this.#connection;
  }

  #unreachable(cause: unknown): Fault {
    const { host, port } = this.#options.address;
    const reason = cause instanceof Error ? cause.message : String(cause);
    return new Fault('PEER_UNREACHABLE', `${host}:${port} cannot be reached: ${reason}`, { cause });
  }
}
