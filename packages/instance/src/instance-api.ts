import type { IncomingMessage, ServerResponse } from 'node:http';
import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { type Clock, Fault, type Logger, type Random, readJsonBody } from '@tsukimi/base';
import type { Engine } from '@tsukimi/engine';
import {
  type AnswerHead,
  type ChatRequest,
  type CompletionRequest,
  openAiErrorOf,
  parseChatRequest,
  parseCompletionRequest,
  parseDetokenizeRequest,
  parseTokenizeRequest,
} from '@tsukimi/openai-api';
import { type Context, Hono } from 'hono';
import { answerGeneration } from './answer-generation.ts';
import type { InstanceMetrics } from './instance-metrics.ts';
import type { KvRole } from './kv-transfer-config.ts';
import { planGeneration } from './plan-generation.ts';
import { prometheusContentType } from './prometheus.ts';
import type { ServedModel } from './served-model.ts';

export interface InstanceApiOptions {
  readonly served: ServedModel;
  readonly engine: Pick<Engine, 'generate' | 'keysOf'>;
  readonly metrics: InstanceMetrics;
  readonly facts: InstanceFacts;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** What a proxy wants to know of an instance beside its models. */
interface InstanceFacts {
  /** Instances share KV only when it is equal. */
  readonly fingerprint: string;
  readonly tensorParallelSize: number;
  readonly kvRole: KvRole | null;
  readonly version: string;
  readonly pid: number;
  /** Another one with every start, by which a proxy sees that what it knew of this address is gone. */
  readonly engineId: string;
}

type Environment = { Bindings: HttpBindings };

/** Room for a prompt as long as the context, however it is escaped, and for the other fields. */
const bodyByteCountPerToken = 64;
const bodyByteCountMin = 2 ** 20;

/** The routes of an instance: OpenAI's API, vLLM's additions to it and ours. */
export class InstanceApi {
  readonly app = new Hono<Environment>();
  readonly #options: InstanceApiOptions;
  readonly #createdS: number;
  readonly #bodyByteCountMax: number;
  readonly #methods = new Map<string, string[]>();
  #ready = false;
  #draining = false;

  constructor(options: InstanceApiOptions) {
    this.#options = options;
    this.#createdS = Math.floor(options.clock.wallMs() / 1_000);
    this.#bodyByteCountMax = Math.max(
      bodyByteCountMin,
      options.served.maxModelLen * bodyByteCountPerToken,
    );
    this.#addRoutes();
    this.app.notFound((context) => this.#refuse(context, this.#unknownPath(context)));
    this.app.onError((error, context) => this.#refuse(context, error));
  }

  /** The engine can take requests. */
  set ready(ready: boolean) {
    this.#ready = ready;
  }

  /** New requests are refused from now on; those under way go on. */
  drain(): void {
    this.#draining = true;
  }

  #addRoutes(): void {
    const { served, metrics, facts } = this.#options;
    this.#get('/health', (context) => context.body(null, 200));
    this.#get('/ready', (context) => {
      this.#checkServing();
      return context.json({ status: 'ready' });
    });
    this.#get('/version', (context) => context.json({ version: facts.version }));
    this.#get('/metrics', (context) =>
      context.body(metrics.render(), 200, { 'Content-Type': prometheusContentType }),
    );
    this.#get('/v1/models', (context) =>
      context.json({ object: 'list', data: served.names.map((name) => this.#modelCard(name)) }),
    );
    // Names may hold slashes, since a model may be served under its path.
    this.#get('/v1/models/:name{.+}', (context) => {
      const name = context.req.param('name') ?? '';
      served.checkName(name);
      return context.json(this.#modelCard(name));
    });
    this.#get('/tsukimi/instance', (context) =>
      context.json({
        model: served.name,
        fingerprint: facts.fingerprint,
        tensor_parallel_size: facts.tensorParallelSize,
        kv_role: facts.kvRole,
        max_model_len: served.maxModelLen,
        pid: facts.pid,
        engine_id: facts.engineId,
        version: facts.version,
      }),
    );
    this.#post('/v1/completions', async (context) => {
      const request = parseCompletionRequest(await this.#body(context));
      return this.#generate(context, request, 'completion');
    });
    this.#post('/v1/chat/completions', async (context) => {
      const request = parseChatRequest(await this.#body(context));
      return this.#generate(context, request, 'chat');
    });
    this.#post('/tokenize', async (context) => {
      const request = parseTokenizeRequest(await this.#body(context));
      const tokens =
        'text' in request
          ? served.tokenizeText(request.text, request.addSpecialTokens)
          : served.tokenizeChat(request);
      return context.json({
        count: tokens.length,
        max_model_len: served.maxModelLen,
        tokens: [...tokens],
      });
    });
    this.#post('/detokenize', async (context) => {
      const { tokens } = parseDetokenizeRequest(await this.#body(context));
      const text = served.detokenize(tokens);
      // vLLM answers with the first, llama-server with the second.
      return context.json({ prompt: text, content: text });
    });
  }

  #get(path: string, answer: (context: Context<Environment>) => Response): void {
    this.#methods.set(path, ['GET', 'HEAD']);
    this.app.get(path, answer);
  }

  #post(path: string, answer: (context: Context<Environment>) => Promise<Response>): void {
    this.#methods.set(path, ['POST']);
    this.app.post(path, answer);
  }

  async #body(context: Context<Environment>): Promise<unknown> {
    this.#checkServing();
    return readJsonBody(context.env.incoming, this.#bodyByteCountMax);
  }

  async #generate(
    context: Context<Environment>,
    request: CompletionRequest | ChatRequest,
    kind: AnswerHead['kind'],
  ): Promise<Response> {
    const { served, engine, facts, clock, metrics } = this.#options;
    const { incoming, outgoing } = context.env;
    const response = outgoing as ServerResponse;
    served.checkName(request.model);
    const promptTokens = served.promptOf(request);
    const asked = planGeneration(request, promptTokens, served.maxModelLen, facts.kvRole);
    // The slot is freed before the next step when the client goes.
    const gone = new AbortController();
    const leave = () => gone.abort(new Fault('CANCELLED', 'the client left'));
    response.once('close', leave);
    if (response.destroyed) leave();
    await answerGeneration({
      head: {
        id: `${kind === 'chat' ? 'chatcmpl' : 'cmpl'}-${this.#requestId(incoming)}`,
        kind,
        created: Math.floor(clock.wallMs() / 1_000),
        model: request.model,
        systemFingerprint: `fp_${facts.fingerprint.slice(0, 10)}`,
      },
      request,
      promptTokens,
      chunkKeys: request.tellsChunkKeys ? engine.keysOf(promptTokens, request.salt) : null,
      events: engine.generate(asked, { signal: gone.signal }),
      response,
      signal: gone.signal,
      clock,
      metrics,
    });
    return RESPONSE_ALREADY_SENT;
  }

  /** The caller's own, so that both legs of a request can be found in the logs; else a new one. */
  #requestId({ headers }: IncomingMessage): string {
    const given = headers['x-request-id'];
    if (typeof given === 'string' && /^[\w.-]{1,128}$/.test(given)) return given;
    return Array.from({ length: 4 }, () =>
      this.#options.random.uint32().toString(16).padStart(8, '0'),
    ).join('');
  }

  #checkServing(): void {
    if (this.#draining) throw new Fault('OVERLOADED', 'the instance is shutting down');
    if (!this.#ready) throw new Fault('OVERLOADED', 'the instance is starting');
  }

  #modelCard(name: string): object {
    const { served } = this.#options;
    return {
      id: name,
      object: 'model',
      created: this.#createdS,
      owned_by: 'tsukimi',
      root: served.name,
      parent: null,
      max_model_len: served.maxModelLen,
    };
  }

  #unknownPath(context: Context<Environment>): Fault {
    const { method, path } = context.req;
    const allowed = this.#methods.get(path);
    if (allowed === undefined) return new Fault('NOT_FOUND', `there is no ${path} here`);
    context.header('Allow', allowed.join(', '));
    return new Fault('INVALID_ARGUMENT', `${path} takes ${allowed.join(' or ')}, not ${method}`, {
      details: { status: 405, code: 'method_not_allowed' },
    });
  }

  #refuse(context: Context<Environment>, error: unknown): Response {
    const { logger, metrics } = this.#options;
    // An engine that no longer takes requests says so in its own terms; the client may try again.
    const told =
      Fault.has(error, 'CANCELLED') && !context.env.outgoing.destroyed
        ? new Fault('OVERLOADED', 'the instance is shutting down')
        : error;
    const { status, headers, body } = openAiErrorOf(told);
    metrics.refused.add(1, String(status));
    if (status === 500) logger.error('instance.request_failed', { reason: String(error) });
    for (const [name, value] of Object.entries(headers)) context.header(name, value);
    // What is left of a body that was too large is not worth waiting for.
    if (status === 413) context.header('Connection', 'close');
    return context.json(body, status as 400);
  }
}
