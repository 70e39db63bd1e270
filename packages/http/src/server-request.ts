import type { Fields } from './core/fields.ts';
import type { RequestHead } from './core/request-head.ts';

interface Events {
  readonly data: (piece: Buffer) => void;
  readonly end: () => void;
}

/** What a request needs of its connection. */
export interface RequestBodySource {
  readonly remoteAddress: string | undefined;
  /** The body is wanted, from here on or again. */
  flow(): void;
}

/**
 * A request whose body comes as events, once somebody listens to `data` or has called `resume`: the few
 * members of Node's `IncomingMessage` that a relay needs, with the same meanings. Each event has one listener.
 */
export class ServerRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Fields;
  readonly socket: { readonly remoteAddress: string | undefined };
  readonly #source: RequestBodySource;
  #onData: Events['data'] | null = null;
  #onEnd: Events['end'] | null = null;
  #flowing = false;
  #complete = false;
  #ended = false;

  constructor(head: RequestHead, source: RequestBodySource) {
    this.method = head.method;
    this.url = head.target;
    this.headers = head.headers;
    this.socket = source;
    this.#source = source;
  }

  get flowing(): boolean {
    return this.#flowing;
  }

  /** All of the body has come. */
  get complete(): boolean {
    return this.#complete;
  }

  on<Name extends keyof Events>(name: Name, listener: Events[Name]): this {
    if (name === 'end') {
      this.#onEnd = listener as Events['end'];
      return this;
    }
    this.#onData = listener as Events['data'];
    return this.resume();
  }

  pause(): this {
    this.#flowing = false;
    return this;
  }

  /** Without a listener, the body is thrown away. */
  resume(): this {
    if (this.#flowing) return this;
    this.#flowing = true;
    if (this.#complete) queueMicrotask(() => this.#end());
    else this.#source.flow();
    return this;
  }

  /** For the connection only. */
  push(piece: Buffer): void {
    this.#onData?.(piece);
  }

  /** For the connection only. */
  finish(): void {
    this.#complete = true;
    this.#end();
  }

  #end(): void {
    if (!this.#flowing || this.#ended) return;
    this.#ended = true;
    this.#onEnd?.();
  }
}
