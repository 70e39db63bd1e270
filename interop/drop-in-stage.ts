import { eventually } from '@tsukimi/base/testing';
import { ScriptedInstance, type ScriptedInstanceOptions } from '@tsukimi/proxy/testing';
import { demoCommand } from '../benchmarks/proxy/demo.ts';
import { freePorts, Processes, type Started } from '../e2e/processes.ts';

export type Who = 'demo' | 'ours';

export interface StageOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly prefill?: ScriptedInstanceOptions;
  readonly decode?: ScriptedInstanceOptions;
  /** Beside those of model, port and instances, which are the same for both. */
  readonly argv?: readonly string[];
  /** In place of the instances' own addresses. */
  readonly addresses?: { readonly prefill: string; readonly decode: string };
}

/** How an answer looks, with what differs from run to run made alike. */
export interface Seen {
  readonly status: number;
  readonly type: string | null;
  /** Parsed where it is JSON, the text otherwise; null where it was cut. */
  readonly body: unknown;
}

export const model = 'org/tsukimi-demo';
/** As little as a model server knows that has never heard of a proxy. */
const plain = { model, ours: false, tellsTokenIds: false };

/** vLLM's demo or ours in front of a prefill and a decode instance of its own. */
export class Stage implements AsyncDisposable {
  readonly prefill: ScriptedInstance;
  readonly decode: ScriptedInstance;
  readonly port: number;
  readonly #processes = new Processes();
  readonly #names = new Map<string, string>();
  #started: Started | null = null;

  private constructor(port: number, prefill: ScriptedInstance, decode: ScriptedInstance) {
    this.port = port;
    this.prefill = prefill;
    this.decode = decode;
    this.name(prefill, '<prefill>');
    this.name(decode, '<decode>');
  }

  /** Resolves once it serves, or has ended: see `exitCode`. */
  static async start(who: Who, options: StageOptions = {}): Promise<Stage> {
    const instance = (given: ScriptedInstanceOptions = {}) =>
      new ScriptedInstance({ ...plain, ...given }).start();
    const [prefill, decode] = [await instance(options.prefill), await instance(options.decode)];
    const stage = new Stage(await freePorts(1), prefill, decode);
    try {
      await stage.#start(who, options);
      return stage;
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#processes[Symbol.asyncDispose]();
    await Promise.all([this.prefill.kill(), this.decode.kill()]);
  }

  /** Null while it runs. */

  get exitCode(): number | null {
    return this.#started?.child.exitCode ?? null;
  }

  /** Answers show `name` in place of the instance's address. */
  name({ address }: ScriptedInstance, name: string): void {
    this.#names.set(address, name);
  }

  async get(path: string): Promise<Seen> {
    return this.#seen(await this.#fetch(path));
  }

  async post(
    path: string,
    body: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Seen> {
    const answer = await this.#fetch(path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return this.#seen(answer);
  }

  async #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}${path}`, init);
  }

  async #seen(answer: Response): Promise<Seen> {
    const text = await answer.text().catch(() => null);
    return {
      status: answer.status,
      type: answer.headers.get('content-type')?.replace(/;.*/, '') ?? null,
      body: text === null ? null : parsed(this.#madeAlike(text)),
    };
  }

  #madeAlike(text: string): string {
    let alike = text
      .replaceAll(/cmpl-\d+-\d+/g, '<id>')
      .replaceAll(/"created":\d+/g, '"created":0');
    for (const [address, name] of this.#names) alike = alike.replaceAll(address, name);
    return alike;
  }

  async #start(who: Who, { env = {}, argv = [], addresses }: StageOptions): Promise<void> {
    const args = [
      ...['--model', model, '--port', String(this.port)],
      ...['--prefill', addresses?.prefill ?? this.prefill.address],
      ...['--decode', addresses?.decode ?? this.decode.address, ...argv],
    ];
    const started =
      who === 'demo'
        ? this.#processes.startCommand('demo', [...(await demoCommand()), ...args], { env })
        : this.#processes.start(['proxy', ...args], { env });
    this.#started = started;
    await eventually(
      async () => started.child.exitCode !== null || (await this.#isReady(addresses === undefined)),
      `${who} to serve`,
      30_000,
    );
  }

  /** The demo has looked at its instances before it answers. */
  async #isReady(withInstances: boolean): Promise<boolean> {
    const status = (await (await this.#fetch('/status')).json()) as Status;
    return !withInstances || (status.instances ?? []).every(({ state }) => state !== 'unknown');
  }
}

interface Status {
  /** Ours has them. */
  readonly instances?: readonly { readonly state: string }[];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
