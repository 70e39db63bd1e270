/** An instance over real HTTP whose answers, and misfortunes, are scripted. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Answerer, event, flawOf, streamFrames, wholeAnswer } from './scripted-answers.ts';

export { scriptedText, scriptedToken } from './scripted-answers.ts';

/** What becomes of one request for completions. */
export type Fate =
  | { readonly kind: 'serve' }
  | { readonly kind: 'status'; readonly status: number }
  /** Accepts the request and never answers. */
  | { readonly kind: 'hang' }
  /** Bytes that are no HTTP. */
  | { readonly kind: 'garbage' }
  /** Half of an answer that is not streamed; with `end`, one without a length that is ended in order. */
  | { readonly kind: 'half'; readonly how?: 'reset' | 'end' }
  /** Of status 200, or another one, with this in it, streamed or not. */
  | { readonly kind: 'body'; readonly text: string; readonly status?: number }
  /** Status 200, then nothing but comments, or white space where no stream was asked for. */
  | { readonly kind: 'pings' }
  /**
   * So many events, then so many bytes of the next one, then this. What is not streamed is served, except
   * that it is aborted by `abort-event` too.
   */
  | {
      readonly kind: 'break';
      readonly frameCount: number;
      readonly byteCount?: number;
      readonly how: 'reset' | 'end' | 'stall' | 'error-event' | 'abort-event';
      /** The event that tells of the error, where it is not OpenAI's. */
      readonly event?: string;
    };

export interface ScriptedInstanceOptions {
  readonly model?: string;
  /** Answers `/tsukimi/instance` and knows token ids and resuming; true by default. */
  readonly ours?: boolean;
  /** As vLLM does when asked, where it is not `ours`; true by default. */
  readonly tellsTokenIds?: boolean;
  readonly fingerprint?: string;
  readonly tensorParallelSize?: number;
  readonly cachedTokenCount?: number;
  readonly kvRole?: string;
  readonly engineId?: string;
  /** Where it listens; 0, the default, takes a free one. */
  readonly port?: number;
  /** Between two events of a stream, and before an answer that is not streamed. */
  readonly gapMs?: number;
  /** Off for measuring: requests are not kept. */
  readonly keepsRequests?: boolean;
  readonly fate?: (request: ScriptedRequest) => Fate;
  /** Whom `/v1/models` names for it. */
  readonly ownedBy?: string;
  /** How long `/health` takes. */
  readonly healthMs?: number;
  /** What else it answers to GETs, by path. */
  readonly tells?: Readonly<Record<string, unknown>>;
  /**
   * The connector of the engine it stands for: members that its answer has beside, once it has what it
   * waits for. A rejection is answered with status 400.
   */
  readonly connector?: (request: ScriptedRequest) => Promise<object>;
  /** A stream's events, where they are not those of completions; null for those. */
  readonly answer?: (request: ScriptedRequest) => string | null;
}

export interface ScriptedRequest {
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** The other side closed before the answer was whole. */
  aborted: boolean;
}

const serve: Fate = { kind: 'serve' };
const errorEvent = event({ error: { message: 'scripted', code: 500 } });
const pingEveryMs = 100;

export class ScriptedInstance {
  readonly requests: ScriptedRequest[] = [];
  fate: (request: ScriptedRequest) => Fate;
  /** What `/v1/models` tells. */
  model: string;
  /** Told by those that are ours; a restart of a real one changes it. */
  engineId: string | null;
  /** Streams wait for it after their first event. */
  hold: Promise<void> | null = null;
  /** False: `/ready` and `/health` answer 503. */
  healthy = true;
  readonly #options: ScriptedInstanceOptions;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;
  #answerCount = 0;
  /** That it has sent, as `/metrics` tells. */
  #tokenCount = 0;

  constructor(options: ScriptedInstanceOptions = {}) {
    this.#options = options;
    this.model = options.model ?? 'tsukimi-demo';
    this.engineId = options.engineId ?? null;
    this.#port = options.port ?? 0;
    this.fate = options.fate ?? (() => serve);
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  /** Listens; after a `kill`, on the same port again. */
  async start(): Promise<this> {
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) =>
      this.#receive(request, response),
    );
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    return this;
  }

  /** As `kill -9` does: everything is cut, nobody listens any more. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const closed = new Promise((resolve) => server.close(resolve));
    this.cutConnections();
    await closed;
  }

  cutConnections(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const pieces: Buffer[] = [];
    request.on('error', () => {});
    response.on('error', () => {});
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const path = request.url ?? '/';
      if (request.method === 'POST') this.#complete(path, request, response, pieces);
      else this.#tell(path, response);
    });
  }

  #tell(path: string, response: ServerResponse): void {
    if (path === '/v1/models') {
      const data = [{ id: this.model, object: 'model', owned_by: this.#options.ownedBy ?? 'test' }];
      return json(response, 200, { object: 'list', data });
    }
    if (path === '/tsukimi/instance' && this.#options.ours !== false) {
      return json(response, 200, {
        fingerprint: this.#options.fingerprint ?? 'f00d',
        tensor_parallel_size: this.#options.tensorParallelSize ?? 1,
        engine_id: this.engineId,
        kv_role: this.#options.kvRole ?? null,
      });
    }
    const told = this.#options.tells?.[path];
    if (told !== undefined) return json(response, 200, told);
    if (path === '/metrics') {
      response.writeHead(200, { 'content-type': 'text/plain' });
      response.end(
        `vllm:generation_tokens_total{model_name="${this.model}"} ${this.#tokenCount}\n`,
      );
      return;
    }
    if (path === '/ready' || path === '/health') {
      setTimeout(() => json(response, this.healthy ? 200 : 503, {}), this.#options.healthMs ?? 0);
      return;
    }
    return json(response, 404, { error: { message: 'not found' } });
  }

  #complete(
    path: string,
    request: IncomingMessage,
    response: ServerResponse,
    pieces: readonly Buffer[],
  ): void {
    const text = Buffer.concat(pieces).toString('utf8');
    const body = objectIn(text);
    if (body === null) return refuse(response, 'the body is no JSON object');
    const asked = { path, headers: request.headers, text, body, aborted: false };
    if (this.#options.keepsRequests !== false) this.requests.push(asked);
    response.on('close', () => {
      asked.aborted = !response.writableFinished;
    });
    const fate = this.fate(asked);
    switch (fate.kind) {
      case 'hang':
        return;
      case 'garbage':
        response.socket?.end('what is HTTP?\r\n\r\n');
        return;
      case 'status':
        json(response, fate.status, {
          error: {
            message: `scripted ${fate.status}`,
            code: 'scripted',
            param: fate.status === 404 ? 'model' : null,
          },
        });
        return;
      case 'half':
        this.#half(response, fate.how ?? 'reset');
        return;
      case 'body':
        response.writeHead(fate.status ?? 200, { 'content-type': 'application/json' });
        response.end(fate.text);
        return;
      case 'pings':
        ping(response, body['stream'] === true);
        return;
      case 'serve':
      case 'break':
        void this.#serve(asked, response, fate);
    }
  }

  async #serve(asked: ScriptedRequest, response: ServerResponse, fate: Fate): Promise<void> {
    const { path, body } = asked;
    let extra: object = {};
    try {
      extra = (await this.#options.connector?.(asked)) ?? {};
    } catch (error) {
      return refuse(response, (error as Error).message);
    }
    this.#answerCount += 1;
    const answerer = this.#answerer();
    const flaw = flawOf(body, answerer);
    if (flaw !== null) return refuse(response, flaw);
    const events = this.#options.answer?.(asked) ?? null;
    if (events !== null) {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      response.end(events);
    } else if (body['stream'] === true) {
      await this.#stream(streamFrames(path, body, answerer), response, fate);
    } else {
      await this.#pause();
      this.#tokenCount += 1;
      const text = JSON.stringify({ ...wholeAnswer(path, body, answerer), ...extra });
      const aborts = fate.kind === 'break' && fate.how === 'abort-event';
      sendJson(response, 200, aborts ? text.replace('"length"', '"abort"') : text);
    }
  }

  #answerer(): Answerer {
    const { ours = true, tellsTokenIds = true, cachedTokenCount = 0 } = this.#options;
    return {
      ...{ ours, tellsTokenIds, cachedTokenCount, model: this.model },
      id: `cmpl-${this.#port}-${this.#answerCount}`,
      created: 1_700_000_000 + this.#answerCount,
    };
  }

  #half(response: ServerResponse, how: 'reset' | 'end'): void {
    const type = { 'content-type': 'application/json' };
    response.shouldKeepAlive = false;
    response.useChunkedEncodingByDefault = false;
    response.writeHead(200, how === 'end' ? type : { ...type, 'content-length': 1_000 });
    response.write('{"id":"half', () => {
      if (how === 'end') response.socket?.end();
      else response.socket?.resetAndDestroy();
    });
  }

  async #pause(): Promise<void> {
    const { gapMs = 0 } = this.#options;
    if (gapMs > 0) await new Promise((resolve) => setTimeout(resolve, gapMs));
  }

  async #stream(frames: readonly string[], response: ServerResponse, fate: Fate): Promise<void> {
    const breaks = fate.kind === 'break' ? fate : null;
    const shown = breaks === null ? frames : frames.slice(0, breaks.frameCount);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    for (const frame of shown) {
      if (response.destroyed) return;
      this.#tokenCount += 1;
      if (!response.write(frame)) await drained(response);
      await this.hold;
      await this.#pause();
    }
    if (breaks === null) {
      response.end();
      return;
    }
    const part = Buffer.from(frames[breaks.frameCount] ?? '').subarray(0, breaks.byteCount ?? 0);
    if (breaks.how === 'error-event') {
      response.end(`${breaks.event ?? errorEvent}data: [DONE]\n\n`);
    } else if (breaks.how === 'abort-event') {
      const choice = { index: 0, text: '', finish_reason: 'abort', token_ids: [] };
      response.end(event({ id: 'x', created: 1, choices: [choice] }));
    } else {
      response.write(part.length === 0 ? ': \n\n' : part, () => {
        if (breaks.how === 'end') response.end();
        if (breaks.how === 'reset') response.socket?.destroy();
      });
    }
  }
}

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function refuse(response: ServerResponse, message: string): void {
  json(response, 400, { error: { message, code: 400 } });
}

/** Until the other side has had enough. */
function ping(response: ServerResponse, streams: boolean): void {
  const type = streams ? 'text/event-stream; charset=utf-8' : 'application/json';
  response.writeHead(200, { 'content-type': type });
  const pings = setInterval(() => response.write(streams ? ': ping\n\n' : ' '), pingEveryMs);
  response.on('close', () => clearInterval(pings));
}

function json(response: ServerResponse, status: number, value: unknown): void {
  sendJson(response, status, JSON.stringify(value));
}

function sendJson(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      response.off('drain', end);
      response.off('close', end);
      resolve();
    };
    response.on('drain', end);
    response.on('close', end);
  });
}
