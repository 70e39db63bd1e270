import { connect, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { type Clock, Fault, onreadOf, type Scheduled } from '@tsukimi/base';
import { ChunkedBody } from './core/chunked-body.ts';
import { HeadReader } from './core/head-reader.ts';
import { parseResponseHead, type ResponseHead } from './core/response-head.ts';
import { writeJoined } from './joined-write.ts';

/** Why a call failed: before it was connected, by a cut, or because what came is no HTTP. */
export type CallFailure = 'connect' | 'reset' | 'malformed';

/** The call that a connection works for. */
export interface ConnectionUser {
  onHead(head: ResponseHead): void;
  onData(bytes: Buffer): void;
  /** The connection works for nobody from here on; `works`: it may work for others. */
  onEnd(works: boolean): void;
  /** `unanswered`: not a byte of an answer had come. */
  onFailure(reason: CallFailure, message: string, unanswered: boolean): void;
}

/** Where a connection goes to. */
export interface Target {
  readonly host: string;
  readonly port: number;
  /** What the `Host` field says. */
  readonly authority: string;
  /** null: plain HTTP. */
  readonly tls: ConnectionOptions | null;
}

/** What is read at once; one for all, since what was read is copied before anything else is. */
const readMemory = Buffer.allocUnsafeSlow(65_536);
const headLimits = { byteCountMax: 65_536, fieldCountMax: 256 };

/** A connection to a server, for one call at a time. */
export class ClientConnection {
  /** Calls that ended well. */
  servedCount = 0;
  /** Since when nobody uses it, and how long a server has promised to keep it so. */
  idleSinceMs = 0;
  keptForMs: number | null = null;
  readonly target: Target;
  readonly #socket: Socket;
  readonly #reader = new HeadReader(headLimits);
  readonly #onClosed: () => void;
  #connecting: Scheduled | null;
  #user: ConnectionUser | null = null;
  #method = 'GET';
  #answered = false;
  #head: ResponseHead | null = null;
  #body: ChunkedBody | number = 0;
  #error: Error | null = null;

  constructor(target: Target, clock: Clock, connectMs: number, onClosed: () => void) {
    this.target = target;
    this.#onClosed = onClosed;
    const { host, port, tls } = target;
    if (tls === null) {
      const onread = onreadOf({
        next: () => readMemory,
        received: (byteCount, memory) => this.#receive(Buffer.from(memory.subarray(0, byteCount))),
      });
      // A function for memory would be asked for it before each read.
      this.#socket = connect({
        host,
        port,
        noDelay: true,
        onread: { ...onread, buffer: readMemory },
      });
    } else {
      this.#socket = connectTls({ host, port, ...tls });
      this.#socket.setNoDelay();
      this.#socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    }
    this.#connecting = clock.schedule(connectMs, () =>
      this.#fail('connect', `does not accept a connection within ${connectMs} ms`),
    );
    this.#socket.on(tls === null ? 'connect' : 'secureConnect', () => this.#connected());
    this.#socket.on('error', (error) => {
      this.#error = error;
    });
    this.#socket.on('end', () => this.#closed());
    this.#socket.on('close', () => {
      this.#closed();
      this.#onClosed();
    });
  }

  /** Sends a request whose `head` ends in an empty line. */
  begin(user: ConnectionUser, method: string, head: string, body: Buffer | null): void {
    this.#user = user;
    this.#method = method;
    this.#answered = false;
    writeJoined(this.#socket, head, body ?? '', '');
  }

  destroy(): void {
    this.#user = null;
    this.#connected();
    this.#socket.destroy();
  }

  /** Tells the call, which is not sent again. */
  cut(reason: string): void {
    this.#answered = true;
    this.#fail('reset', reason);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #connected(): void {
    this.#connecting?.cancel();
    this.#connecting = null;
  }

  #receive(bytes: Buffer): void {
    if (this.#user === null) {
      // Nobody asked for it: what comes next could be taken for another's answer.
      this.destroy();
      return;
    }
    this.#answered = true;
    try {
      let at = 0;
      while (at < bytes.length && this.#user !== null) {
        at =
          this.#head === null ? this.#readHead(bytes, at) : this.#readBody(this.#head, bytes, at);
      }
      if (at < bytes.length) this.destroy();
    } catch (error) {
      if (!Fault.has(error, 'MALFORMED')) throw error;
      this.#fail('malformed', error.message);
    }
  }

  #readHead(bytes: Buffer, at: number): number {
    const end = this.#reader.read(bytes, at);
    if (end < 0) return bytes.length;
    const head = parseResponseHead(this.#reader.take(), this.#method);
    // Interim answers; the final one follows.
    if (head.status < 200) return end;
    this.#head = head;
    this.#body =
      head.body === 'chunked'
        ? new ChunkedBody()
        : head.body === 'until-close'
          ? Number.POSITIVE_INFINITY
          : head.body;
    // The last bytes may be these: whoever looks at the user afterwards sees whether it is still there.
    this.#user?.onHead(head);
    if (this.#body === 0) this.#end(end === bytes.length);
    return end;
  }

  #readBody(head: ResponseHead, bytes: Buffer, at: number): number {
    if (typeof this.#body === 'number') {
      const end = Math.min(bytes.length, at + this.#body);
      this.#body -= end - at;
      this.#user?.onData(bytes.subarray(at, end));
      if (this.#body === 0) this.#end(end === bytes.length);
      return end;
    }
    const body = this.#body;
    const end = body.read(bytes, at);
    const piece = body.data(bytes);
    if (piece !== null) this.#user?.onData(piece);
    if (body.ended && this.#head === head) this.#end(end === bytes.length);
    return end;
  }

  #end(nothingBehind: boolean): void {
    const user = this.#user;
    const works = nothingBehind && this.#head?.keepsAlive === true && !this.#socket.destroyed;
    if (works) this.keptForMs = keptForMs(this.#head as ResponseHead);
    this.#user = null;
    this.#head = null;
    this.servedCount += 1;
    user?.onEnd(works);
  }

  #closed(): void {
    if (this.#user === null) {
      this.#socket.destroy();
      return;
    }
    if (this.#head?.body === 'until-close' && this.#error === null) {
      this.#end(false);
      return;
    }
    const { message, code } = (this.#error ?? {}) as NodeJS.ErrnoException;
    const reason = this.#connecting === null ? 'reset' : 'connect';
    const why = message || code || 'closed the connection';
    const { authorizationError } = this.#socket as Partial<TLSSocket>;
    const untrusted = reason === 'connect' && authorizationError != null;
    this.#fail(reason, untrusted ? `its certificate is not trusted: ${why}` : why);
  }

  #fail(reason: CallFailure, message: string): void {
    const user = this.#user;
    const unanswered = !this.#answered;
    this.destroy();
    user?.onFailure(reason, message, unanswered);
  }
}

/** `Keep-Alive: timeout=5` announces that an idle connection is closed after 5 s. */
function keptForMs(head: ResponseHead): number | null {
  const announced = head.headers['keep-alive'];
  const match = announced === undefined ? null : /(?:^|[\s,;])timeout=(\d{1,6})/i.exec(announced);
  return match === null ? null : Number(match[1]) * 1_000;
}
