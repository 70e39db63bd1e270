import { setTimeout as sleep } from 'node:timers/promises';
import { SystemClock } from '@tsukimi/base';
import { configOf, uuid } from '@tsukimi/master/testing';
import { RpcClient } from '@tsukimi/rpc';
import {
  type ArgsOf,
  type MasterProtocol,
  masterProtocol,
  type ReplicateConfig,
  type ResultOf,
  type Uuid,
} from '@tsukimi/wire';
import type { Processes } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';

type Name = keyof MasterProtocol;

/** One call and what came back, with all that differs by chance taken out. */
export type ScriptLine = readonly [call: string, answer: unknown];

export interface Scenario {
  readonly name: string;
  /** For both masters. */
  readonly flags: readonly string[];

  play(script: MasterScript): Promise<void>;
}

/** Plays a scenario against both masters, each fresh; gives what each answered. */
export async function playOnBoth(
  processes: Processes,
  scenario: Scenario,
): Promise<{ real: ScriptLine[]; own: ScriptLine[] }> {
  const flags = scenario.flags.map((flag) => flag.replace('{directory}', processes.directory));
  const masters = [
    await startRealMaster(processes, { flags }),
    await startOwnMaster(processes, { flags }),
  ];
  const play = async (master: Master) => {
    const script = new MasterScript(master, processes.directory);
    try {
      await scenario.play(script);
    } finally {
      script.close();
    }
    return script.lines;
  };
  const [real = [], own = []] = await Promise.all(masters.map(play));
  return { real, own };
}

/** A list of calls to a master, written down with their answers while they are made. */
export class MasterScript {
  readonly lines: ScriptLine[] = [];
  readonly master: Master;
  readonly #directory: string;
  readonly #client: RpcClient<MasterProtocol>;
  readonly #ids = new Map<unknown, string>();

  constructor(master: Master, directory: string) {
    this.master = master;
    this.#directory = directory;
    const address = { host: '127.0.0.1', port: master.port };
    this.#client = new RpcClient({ address, protocol: masterProtocol, clock: new SystemClock() });
  }

  async call<K extends Name>(name: K, ...args: ArgsOf<MasterProtocol[K]>) {
    const answer = await this.quietly(name, ...args);
    this.lines.push([`${name}(${shown(args).slice(0, 160)})`, this.#blurred(answer)]);
    return answer;
  }

  /** A call that is made without being written down. */
  quietly<K extends Name>(
    name: K,
    ...args: ArgsOf<MasterProtocol[K]>
  ): Promise<ResultOf<MasterProtocol[K]>> {
    return this.#client.call(name, args);
  }

  /** A put of one object, started and ended. */
  async put(key: string, byteCount: number, fields: PutFields = {}): Promise<void> {
    const { tenant = 'default', writer = uuid(2), ...config } = fields;
    await this.call('PutStart', writer, key, byteCount, configOf(config), tenant);
    await this.call('PutEnd', writer, { key, objectChecksum: null }, 4, tenant);
  }

  /** Writes down the values of these metrics; labelled ones too, by the name alone. */
  async metrics(...names: readonly string[]): Promise<void> {
    const text = await (await fetch(`${this.master.adminUrl}/metrics`)).text();
    const found = text
      .split('\n')
      .filter((line) =>
        names.some((name) => line.startsWith(`${name} `) || line.startsWith(`${name}{`)),
      )
      .map((line) => line.replace(/\.0+$/, ''))
      .toSorted();
    this.lines.push(['metrics', found]);
  }

  async admin(path: string, init: RequestInit = {}): Promise<void> {
    const response = await fetch(`${this.master.adminUrl}${path}`, init);
    const text = await response.text();
    let body: unknown = text;
    try {
      body = JSON.parse(text);
    } catch {
      // Text it is.
    }
    this.lines.push([`${init.method ?? 'GET'} ${path}`, [response.status, this.#blurred(body)]]);
  }

  /** Asks quietly until the answer is as wanted, and writes that answer down. */
  async until<K extends Name>(
    isWanted: (answer: ResultOf<MasterProtocol[K]>) => boolean,
    name: K,
    ...args: ArgsOf<MasterProtocol[K]>
  ): Promise<ResultOf<MasterProtocol[K]>> {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const answer = await this.quietly(name, ...args);
      if (isWanted(answer)) {
        this.lines.push([`until ${name}(${shown(args)})`, this.#blurred(answer)]);
        return answer;
      }
      await sleep(100);
    }
    throw new Error(`${this.master.kind}: ${name} never answered what was awaited`);
  }

  wait(ms: number): Promise<void> {
    return sleep(ms);
  }

  close(): void {
    this.#client.close();
  }

  /** Ids are told by the order in which they came up, addresses by their segment. */
  #blurred(answer: unknown): unknown {
    return JSON.parse(
      JSON.stringify(answer ?? null, (field, value: unknown) => {
        if (field === 'bufferAddress') return `segment ${(value as bigint) >> 40n}`;
        if (field === 'buffer_address_')
          return `segment ${Math.floor((value as number) / 2 ** 40)}`;
        if (field === 'id' && typeof value === 'number') return this.#nameOf(value);
        if (typeof value === 'bigint') return String(value);
        return typeof value === 'string' ? value.replaceAll(this.#directory, '{directory}') : value;
      }),
    );
  }

  #nameOf(id: unknown): string {
    const name = this.#ids.get(id) ?? `replica ${this.#ids.size + 1}`;
    this.#ids.set(id, name);
    return name;
  }
}

interface PutFields extends Partial<ReplicateConfig> {
  readonly tenant?: string;
  readonly writer?: Uuid;
}

function shown(args: readonly unknown[]): string {
  return JSON.stringify(args, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  ).slice(1, -1);
}
