/** An instance over real HTTP whose answers, and misfortunes, are scripted. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** What becomes of one request for completions. */
export type Fate =
  | { readonly kind: 'serve' }
  | { readonly kind: 'status'; readonly status: number }
  /** Accepts the request and never answers. */
  | { readonly kind: 'hang' }
  /** Bytes that are no HTTP. */
  | { readonly kind: 'garbage' }
  /** Half of an answer that is not streamed. */
  | { readonly kind: 'half' }
  /** So many events, then so many bytes of the next one, then this. */
  | {
      readonly kind: 'break';
      readonly frameCount: number;
      readonly byteCount?: number;
      readonly how: 'reset' | 'end' | 'stall' | 'error-event' | 'abort-event';
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
const tokenCountMax = 100_000;
/** The last id of every prompt, and none of any output. */
const endOfPrompt = 60_000;

/** Output token number `at` for a prompt: an id, and a text that needs care in JSON and UTF-8. */
export function scriptedToken(prompt: string, at: number): { id: number; text: string } {
  let id = 7 + at * 31;
  for (let index = 0; index < prompt.length; index += 1) {
    id = (Math.imul(id, 33) + prompt.charCodeAt(index)) >>> 0;
  }
  id %= 50_000;
  return { id, text: [` w${id}`, ' "é,"', '月\n', ',"token_ids":[1],', '\\'][id % 5] as string };
}

/** The whole text that an undisturbed instance gives. */
export function scriptedText(prompt: string, tokenCount: number): string {
  return Array.from({ length: tokenCount }, (_, at) => scriptedToken(prompt, at).text).join('');
}

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
      const data = [{ id: this.model, object: 'model', owned_by: 'test' }];
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
    if (path === '/ready' || path === '/health') {
      return json(response, this.healthy ? 200 : 503, {});
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
          error: { message: `scripted ${fate.status}`, code: 'scripted' },
        });
        return;
      case 'half':
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1_000 });
        response.write('{"id":"half', () => response.socket?.resetAndDestroy());
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
    const flaw = this.#flawOf(body);
    if (flaw !== null) return refuse(response, flaw);
    this.#answerCount += 1;
    const events = this.#options.answer?.(asked) ?? null;
    if (events !== null) {
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      response.end(events);
    } else if (body['stream'] === true) await this.#stream(path, body, response, fate);
    else {
      await this.#pause();
      this.#whole(path, body, response, extra);
    }
  }

  async #pause(): Promise<void> {
    const { gapMs = 0 } = this.#options;
    if (gapMs > 0) await new Promise((resolve) => setTimeout(resolve, gapMs));
  }

  #whole(
    path: string,
    body: Readonly<Record<string, unknown>>,
    response: ServerResponse,
    extra: object,
  ): void {
    const { text, usage } = this.#output(body);
    const asked = body['return_token_ids'] === true && this.#options.ours === false;
    const ids = asked ? { prompt_token_ids: Array.from({ length: 40 }, (_, at) => at) } : {};
    const choice = isChat(path)
      ? { message: { role: 'assistant', content: text } }
      : { text, ...ids };
    json(response, 200, {
      ...(isChat(path) ? ids : {}),
      id: `cmpl-${this.#port}-${this.#answerCount}`,
      created: 1_700_000_000 + this.#answerCount,
      choices: [{ index: 0, ...choice, finish_reason: 'length' }],
      usage,
      ...extra,
    });
  }

  async #stream(
    path: string,
    body: Readonly<Record<string, unknown>>,
    response: ServerResponse,
    fate: Fate,
  ): Promise<void> {
    const frames = this.#frames(path, body);
    const breaks = fate.kind === 'break' ? fate : null;
    const shown = breaks === null ? frames : frames.slice(0, breaks.frameCount);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    for (const frame of shown) {
      if (response.destroyed) return;
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
      response.end('data: {"error":{"message":"scripted","code":500}}\n\ndata: [DONE]\n\n');
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

  /** Each token an event, the finish reason with the last one; then usage if asked, then the end. */
  #frames(path: string, body: Readonly<Record<string, unknown>>): string[] {
    const { prompt, resumed, tokens, usage, resumedCount } = this.#output(body);
    const head = {
      id: `cmpl-${this.#port}-${this.#answerCount}`,
      object: 'chunk',
      created: 1_700_000_000 + this.#answerCount,
      model: this.model,
    };
    const asked = body['return_token_ids'] === true && this.#options.tellsTokenIds !== false;
    const foreign = this.#options.ours === false;
    const ofPrompt = asked && foreign ? { prompt_token_ids: promptIds(prompt, resumed) } : {};
    const chunk = (content: object, ids: number[] | null, finish: string | null) => {
      const first = frames.length === 0 ? ofPrompt : {};
      return event({
        ...head,
        ...(isChat(path) ? first : {}),
        choices: [
          {
            ...{ index: 0, ...content, finish_reason: finish },
            ...(isChat(path) ? {} : first),
            ...(asked && ids !== null ? { token_ids: ids } : {}),
          },
        ],
      });
    };
    const frames: string[] = [];
    if (isChat(path)) {
      const role = { delta: { role: 'assistant', content: '' } };
      frames.push(chunk(role, foreign ? null : [], null));
    }
    tokens.forEach(({ id, text }, at) => {
      if (at < resumedCount) return;
      const content = isChat(path) ? { delta: { content: text } } : { text };
      frames.push(chunk(content, [id], at === tokens.length - 1 ? 'length' : null));
    });
    const options = body['stream_options'] as { include_usage?: boolean } | undefined;
    if (options?.include_usage === true) frames.push(event({ ...head, choices: [], usage }));
    frames.push('data: [DONE]\n\n');
    return frames;
  }

  /** Why a real one would refuse what it is asked; null if it would not. */
  #flawOf(body: Readonly<Record<string, unknown>>): string | null {
    for (const name of ['max_tokens', 'max_completion_tokens']) {
      const limit = body[name] ?? 1;
      const isFit = Number.isInteger(limit) && Number(limit) > 0 && Number(limit) <= tokenCountMax;
      if (!isFit) return `${name} must be an integer from 1 to ${tokenCountMax}`;
    }
    const { resumed, tokens } = this.#output(body);
    const others = resumed.some((id, at) => tokens[at]?.id !== id);
    return others ? 'resumed with other tokens' : null;
  }

  #output(body: Readonly<Record<string, unknown>>) {
    const params = body['kv_transfer_params'] as { prompt_token_ids?: number[] } | undefined;
    const given = params?.prompt_token_ids ?? body['prompt'];
    const foreign =
      this.#options.ours === false && Array.isArray(given) ? (given as number[]) : null;
    const prompt =
      foreign === null
        ? JSON.stringify(body['prompt'] ?? body['messages'] ?? body['input'] ?? '')
        : promptOf(foreign);
    const resume = body['tsukimi_resume'] as { output_token_ids: number[] } | undefined;
    const resumed =
      foreign === null
        ? (resume?.output_token_ids ?? [])
        : foreign.slice(foreign.indexOf(endOfPrompt) + 1);
    const asked = Number(body['max_completion_tokens'] ?? body['max_tokens'] ?? 16);
    const count = asked + (foreign === null ? 0 : resumed.length);
    const tokens = Array.from({ length: count }, (_, at) => scriptedToken(prompt, at));
    const cached = body['tsukimi_prefill_cached_tokens'] ?? this.#options.cachedTokenCount ?? 0;
    const usage = {
      prompt_tokens: prompt.length + (foreign === null ? 0 : resumed.length),
      completion_tokens: asked,
      total_tokens: prompt.length + count,
      prompt_tokens_details: { cached_tokens: cached },
    };
    const text = tokens.map((token) => token.text).join('');
    return { prompt, resumed, tokens, text, usage, resumedCount: resumed.length };
  }
}

/** Each character an id; with `resumed` behind, as an engine takes a continuation. */
function promptIds(prompt: string, resumed: readonly number[]): number[] {
  const characters = Array.from({ length: prompt.length - 1 }, (_, at) => prompt.charCodeAt(at));
  return [...characters, endOfPrompt, ...resumed];
}

function promptOf(ids: readonly number[]): string {
  const text = String.fromCharCode(...ids.slice(0, ids.indexOf(endOfPrompt)));
  return text + (text.startsWith('"') ? '"' : ']');
}

function isChat(path: string): boolean {
  return path.endsWith('/chat/completions');
}

function event(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
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

function json(response: ServerResponse, status: number, value: unknown): void {
  const text = JSON.stringify(value);
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
