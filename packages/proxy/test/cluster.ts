import {
  type Clock,
  type Logger,
  loadOptions,
  SeededRandom,
  SystemClock,
  silentLogger,
} from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import {
  assembleProxy,
  type Peers,
  type Proxy,
  type ProxyParts,
  proxyOptions,
} from '../src/index.ts';
import {
  ScriptedInstance,
  type ScriptedInstanceOptions,
  type ScriptedRequest,
} from '../src/testing.ts';

export interface ClusterOptions {
  readonly prefill?: readonly ScriptedInstanceOptions[];
  readonly decode?: readonly ScriptedInstanceOptions[];
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly policies?: NonNullable<ProxyParts['policies']>;
  readonly print?: (text: string) => void;
  readonly tracer?: ProxyParts['tracer'];
  readonly peers?: Peers;
}

/** A proxy in this process before scripted instances, all on loopback. */
export interface Cluster extends AsyncDisposable {
  readonly url: string;
  readonly proxy: Proxy;
  readonly prefill: readonly ScriptedInstance[];
  readonly decode: readonly ScriptedInstance[];
  post(body: object | string, options?: PostOptions): Promise<Response>;
  /** All requests that reached instances, by kind. */
  sent(kind: 'prefill' | 'decode'): ScriptedRequest[];
}

interface PostOptions {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const started = (all: readonly ScriptedInstanceOptions[] = [{}]) =>
    Promise.all(all.map((one) => new ScriptedInstance(one).start()));
  const prefill = await started(options.prefill);
  const decode = await started(options.decode);
  const list = (flag: string, all: readonly ScriptedInstance[]) =>
    all.length === 0 ? [] : [flag, ...all.map(({ address }) => address)];
  const argv = ['--model', 'tsukimi-demo', '--host', '127.0.0.1', '--port', '0'];
  const proxy = await assembleProxy(
    loadOptions(proxyOptions, {
      argv: [
        ...argv,
        ...list('--prefill', prefill),
        ...list('-d', decode),
        ...(options.argv ?? []),
      ],
      env: options.env ?? {},
    }),
    {
      clock: options.clock ?? new SystemClock(),
      random: new SeededRandom(1),
      logger: options.logger ?? silentLogger,
      env: {},
      print: options.print ?? (() => {}),
      tracer: options.tracer ?? null,
      ...(options.peers === undefined ? {} : { peers: options.peers }),
      ...(options.policies === undefined ? {} : { policies: options.policies }),
    },
  );
  for (const service of proxy.services) await service.start();
  const url = `http://127.0.0.1:${proxy.entrance.port}`;
  return {
    url,
    proxy,
    prefill,
    decode,
    post: (body, { path = '/v1/completions', headers = {}, signal } = {}) =>
      fetch(url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...(signal === undefined ? {} : { signal }),
      }),
    sent: (kind) => (kind === 'prefill' ? prefill : decode).flatMap(({ requests }) => requests),
    async [Symbol.asyncDispose]() {
      await eventually(() => proxy.admission.activeCount === 0, 'the end of all requests');
      proxy.pool.checkInvariants();
      const idle = proxy.pool.instances.every(({ activeRequestCount }) => activeRequestCount === 0);
      const deadline = options.tracer == null ? AbortSignal.abort() : AbortSignal.timeout(2_000);
      for (const service of [...proxy.services].reverse()) await service.stop(deadline);
      await Promise.all([...prefill, ...decode].map((one) => one.kill()));
      if (!idle) throw new Error('an attempt was not released');
    },
  };
}

export interface StreamSeen {
  readonly text: string;
  readonly finishReasons: readonly string[];
  readonly ids: ReadonlySet<string>;
  readonly created: ReadonlySet<number>;
  readonly roles: number;
  readonly error: { readonly message: string; readonly code: string } | null;
  readonly done: boolean;
  readonly raw: string;
  readonly events: readonly Record<string, unknown>[];
}

/** Reads a stream as a client would, and judges nothing. */
export async function readStream(response: Response): Promise<StreamSeen> {
  const raw = await response.text();
  const data = raw.split('\n\n').flatMap((frame) => /^data: (.*)$/s.exec(frame)?.[1] ?? []);
  const events = data
    .filter((text) => text !== '[DONE]')
    .map((text) => JSON.parse(text) as Record<string, unknown>);
  const choices = events.flatMap((event) => (event['choices'] ?? []) as Choice[]);
  return {
    text: choices.map((one) => one.text ?? one.delta?.content ?? '').join(''),
    finishReasons: choices.flatMap((one) => one.finish_reason ?? []),
    ids: new Set(events.flatMap((event) => (event['id'] as string | undefined) ?? [])),
    created: new Set(events.flatMap((event) => (event['created'] as number | undefined) ?? [])),
    roles: choices.filter((one) => one.delta?.role !== undefined).length,
    error: (events.find((event) => 'error' in event)?.['error'] ?? null) as StreamSeen['error'],
    done: data.at(-1) === '[DONE]',
    raw,
    events,
  };
}

interface Choice {
  readonly text?: string;
  readonly delta?: { readonly content?: string; readonly role?: string };
  readonly finish_reason: string | null;
}
