import type { SecureContextOptions } from 'node:tls';
import { type Clock, Fault, type Scheduled, type Service } from '@tsukimi/base';
import { HttpServer, type ServerRequest, type ServerResponse } from '@tsukimi/http';
import { openAiErrorOf } from '@tsukimi/openai-api';
import { passedPaths } from './api-paths.ts';
import type { ClientGate, Pass } from './client-gate.ts';
import type { Admission, Waiter } from './core/admission.ts';
import type { HeldMemory, Holding } from './core/held-memory.ts';
import type { InstancePool } from './core/instance-pool.ts';
import type { Cors } from './cors.ts';
import { limits } from './deadlines.ts';
import { Exchange, type ExchangeContext } from './exchange.ts';
import { type Headers, isJson, readBody, sendFault, sendJson } from './http-answers.ts';
import { JsonMembers } from './json-members.ts';
import type { InstanceAdmin } from './membership/admin.ts';
import type { ProxyMetrics } from './metrics.ts';
import type { OutsideView } from './outside-view.ts';
import type { AccessLog } from './telemetry/access-log.ts';
import { RequestRecord } from './telemetry/request-record.ts';
import type { Span, Tracer } from './telemetry/tracer.ts';
import { withoutTransferParams } from './transfer-params.ts';

export interface EntranceOptions {
  readonly host: string;
  readonly port: number;
  /** HTTPS; whoever assembles it gives it a certificate before it starts. */
  readonly isSecure: boolean;
  readonly clock: Clock;
  readonly pool: InstancePool;
  readonly admission: Admission;
  readonly memory: HeldMemory;
  readonly gate: ClientGate;
  readonly cors: Cors;
  readonly admin: InstanceAdmin;
  readonly view: OutsideView;
  readonly metrics: ProxyMetrics;
  /** Null for none. */
  readonly accessLog: AccessLog | null;
  readonly tracer: Tracer | null;
  readonly exchange: ExchangeContext;
  /** Begins every request id that the proxy makes. */
  readonly requestIdPrefix: string;
  /** Paths, beside those of the known APIs, whose POST requests go to an instance. */
  readonly passThrough: readonly string[];
}

/** As OpenTelemetry's conventions for `gen_ai` call what is asked for. */
const operations: Readonly<Record<string, string>> = {
  '/v1/completions': 'text_completion',
  '/v1/chat/completions': 'chat',
  '/v1/responses': 'chat',
  '/v1/messages': 'chat',
  '/v1/embeddings': 'embeddings',
};

type Handler = (request: ServerRequest, response: ServerResponse) => void;

/** The proxy's HTTP side: routes, limits, and a request's way to its `Exchange`. */
export class Entrance implements Service {
  readonly name = 'proxy';
  readonly #options: EntranceOptions;
  readonly #http: HttpServer;
  readonly #routes: Readonly<Record<string, Readonly<Record<string, Handler>>>>;
  #requestCount = 0;
  #stopping = false;

  constructor(options: EntranceOptions) {
    this.#options = options;
    const complete: Handler = (request, response) => this.#complete(request, response);
    const own: Record<string, Readonly<Record<string, Handler>>> = {
      '/v1/models': { GET: (request, response) => this.#models(request, response) },
      ...options.admin.routes,
      '/health': { GET: (_, response) => sendJson(response, 200, { status: 'ok' }) },
      '/ready': { GET: (_, response) => this.#ready(response) },
      ...options.view.routes,
    };
    const passed = [...passedPaths, ...options.passThrough].map((path) => {
      if (!Object.hasOwn(own, path)) return [path, { POST: complete }] as const;
      throw new Fault('INVALID_ARGUMENT', `--pass-through ${path}: the proxy itself answers there`);
    });
    this.#routes = { ...Object.fromEntries(passed), ...own };
    this.#http = new HttpServer({
      name: this.name,
      host: options.host,
      port: options.port,
      clock: options.clock,
      listener: (request, response) => this.#route(request, response),
      refusalBody: (fault) => JSON.stringify(openAiErrorOf(fault).body),
      ...(options.isSecure ? { secureContext: {} } : {}),
    });
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return this.#http.port;
  }

  /** For connections from now on. Throws when certificate and key do not fit, and keeps those before. */
  setCertificate(context: SecureContextOptions): void {
    this.#http.setSecureContext(context);
  }

  start(): Promise<void> {
    return this.#http.start();
  }

  ended(): Promise<void> {
    return this.#http.ended();
  }

  stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true;
    return this.#http.stop(deadline);
  }

  #route(request: ServerRequest, response: ServerResponse): void {
    const path = pathOf(request.url);
    const methods = Object.hasOwn(this.#routes, path) ? this.#routes[path] : undefined;
    if (methods === undefined) {
      request.resume();
      sendFault(response, new Fault('NOT_FOUND', `there is nothing at ${path.slice(0, 200)}`));
      return;
    }
    const { origin } = request.headers;
    if (origin !== undefined) {
      const headers = this.#options.cors.headersFor(origin);
      for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, value);
      if (headers !== null && request.method === 'OPTIONS') {
        request.resume();
        const asked = request.headers['access-control-request-headers'];
        response.writeHead(204, this.#options.cors.preflightHeaders(Object.keys(methods), asked));
        response.end();
        return;
      }
    }
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const handler = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (handler === undefined) {
      request.resume();
      const allowed = Object.keys(methods).join(', ');
      const fault = new Fault('INVALID_ARGUMENT', `${path} takes ${allowed}, not ${method}`, {
        details: { status: 405 },
      });
      sendFault(response, fault, { allow: allowed });
      return;
    }
    handler(request, response);
  }

  #complete(request: ServerRequest, response: ServerResponse): void {
    const requestId = this.#requestId(request);
    let ownHeaders: Headers = { 'x-request-id': requestId };
    const path = pathOf(request.url);
    const { clock, metrics, accessLog } = this.#options;
    const span = this.#span(request, path, requestId);
    const record = new RequestRecord(path, requestId, clock.monotonicMs(), span);
    let queueSpan: Span | null = null;
    let holding: Holding | null = null;
    let exchange: Exchange | null = null;
    let working = false;
    let closed = false;
    let calledOff: (() => void) | null = null;
    let pass: Pass | null = null;
    response.once('close', () => {
      pass?.leave();
      calledOff?.();
      exchange?.cancel();
      // Until then the client's connection, or a leg that is still to let go, may keep some of it.
      closed = true;
      if (!working) holding?.release();
      const status = response.writableFinished ? response.statusCode : 499;
      const nowMs = clock.monotonicMs();
      metrics.requestEnded(record, status, nowMs);
      accessLog?.add(record, status, nowMs);
      queueSpan?.end();
      record.endSpan(status);
    });
    try {
      pass = this.#options.gate.enter(request.headers);
    } catch (error) {
      request.resume();
      sendFault(response, error, ownHeaders);
      return;
    }
    const { client } = pass;
    record.client = client;
    holding = this.#options.memory.open(
      client === '' ? (request.socket.remoteAddress ?? '') : client,
    );
    const kept = holding;
    const { headers: limitHeaders } = pass;
    ownHeaders = { 'x-request-id': requestId, ...limitHeaders };
    if (!isJson(request)) {
      request.resume();
      const detail = "Unsupported Media Type: Only 'application/json' is allowed";
      sendJson(response, 415, { detail }, ownHeaders);
      return;
    }
    readBody(request, limits.bodyByteCountMax, {
      take: (byteCount) => {
        record.receivedByteCount += byteCount;
        return kept.take(byteCount);
      },
      onFault: (fault) => sendFault(response, fault, { ...ownHeaders, connection: 'close' }),
      onBody: (body) => {
        record.bodyMs = clock.monotonicMs();
        let members: JsonMembers;
        try {
          members = withoutTransferParams(JsonMembers.parse(body));
        } catch (error) {
          sendFault(response, error, ownHeaders);
          return;
        }
        record.queuedMs = clock.monotonicMs();
        queueSpan = span?.child('queue', 'internal', {}) ?? null;
        const onRefusal = (fault: Fault) => sendFault(response, fault, ownHeaders);
        calledOff = this.#whenAdmitted(client, onRefusal, () => {
          queueSpan?.end();
          const { exchange: context, admission } = this.#options;
          const asked = { path, record, members, holding: kept, limitHeaders };
          exchange = new Exchange(context, request, response, asked, () => {
            admission.leave();
            working = false;
            if (closed) kept.release();
          });
          working = true;
          exchange.begin();
        });
      },
    });
  }

  #span(request: ServerRequest, path: string, requestId: string): Span | null {
    const { tracer, exchange } = this.#options;
    if (tracer === null) return null;
    const operation = operations[path];
    return tracer.request(`POST ${path}`, request.headers['traceparent'], {
      'http.request.method': 'POST',
      'http.route': path,
      'url.path': path,
      ...(operation === undefined ? {} : { 'gen_ai.operation.name': operation }),
      'gen_ai.request.model': exchange.pool.model,
      'tsukimi.request_id': requestId,
    });
  }

  /** Begins at once, or when its turn comes, or refuses. The result calls the waiting off. */
  #whenAdmitted(client: string, onRefusal: (fault: Fault) => void, begin: () => void): () => void {
    const { admission, clock, exchange } = this.#options;
    let expiry: Scheduled | null = null;
    const refuse = (reason: string) => onRefusal(new Fault('OVERLOADED', reason));
    const waiter: Waiter = {
      begin: () => {
        expiry?.cancel();
        begin();
      },
      pushOut: () => {
        expiry?.cancel();
        refuse('too many requests of this client wait already; try again shortly');
      },
    };
    switch (admission.enter(client, waiter)) {
      case 'began':
        return () => {};
      case 'full':
        refuse('too many requests are in progress; try again shortly');
        return () => {};
      case 'queued':
        expiry = clock.schedule(exchange.deadlines.queueMs, () => {
          admission.withdraw(client, waiter);
          refuse(`the request waited ${exchange.deadlines.queueMs} ms for its turn`);
        });
        return () => {
          expiry?.cancel();
          admission.withdraw(client, waiter);
        };
    }
  }

  /** The client's own if it is harmless to repeat, else a new one. */
  #requestId(request: ServerRequest): string {
    const given = request.headers['x-request-id'];
    if (typeof given === 'string' && /^[\x21-\x7e]{1,128}$/.test(given)) return given;
    this.#requestCount += 1;
    return `${this.#options.requestIdPrefix}-${this.#requestCount}`;
  }

  #models(request: ServerRequest, response: ServerResponse): void {
    const { pool, gate } = this.#options;
    try {
      gate.check(request.headers);
    } catch (error) {
      sendFault(response, error);
      return;
    }
    const byId = new Map<string, unknown>();
    for (const { identity } of [...pool.up('decode'), ...pool.up('prefill')]) {
      identity?.modelIds.forEach((id, at) => {
        if (!byId.has(id)) byId.set(id, identity.models[at]);
      });
    }
    if (byId.size === 0) sendFault(response, new Fault('OVERLOADED', 'no instance is up'));
    else sendJson(response, 200, { object: 'list', data: [...byId.values()] });
  }

  #ready(response: ServerResponse): void {
    const { pool } = this.#options;
    const ready = pool.up('decode').length + pool.up('prefill').length > 0 && !this.#stopping;
    sendJson(response, ready ? 200 : 503, { status: ready ? 'ready' : 'no instance is up' });
  }
}

function pathOf(url: string): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}
