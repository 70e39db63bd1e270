import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
  /** Texts of files that flags name; `{master}` in a name is the kind of master. */
  readonly files?: Readonly<Record<string, string>>;
  play(script: MasterScript): Promise<void>;
}

/** Plays a scenario against both masters, each fresh; gives what each answered. */
export async function playOnBoth(
  processes: Processes,
  scenario: Scenario,
): Promise<{ real: ScriptLine[]; own: ScriptLine[] }> {
  const flagsFor = (kind: Master['kind']) => {
    for (const [name, text] of Object.entries(scenario.files ?? {})) {
      writeFileSync(join(processes.directory, name.replace('{master}', kind)), text);
    }
    return scenario.flags.map((flag) =>
      flag.replace('{directory}', processes.directory).replace('{master}', kind),
    );
  };
  const masters = [
    await startRealMaster(processes, { flags: flagsFor('real') }),
    await startOwnMaster(processes, { flags: flagsFor('own') }),
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
    this.lines.push([`${name}(${this.#shown(args).slice(0, 160)})`, this.#blurred(answer)]);
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
    const shownPath = path.replace(/\d{8,20}-\d{8,20}/, (id) => this.#nameOf(id));
    this.lines.push([
      `${init.method ?? 'GET'} ${shownPath}`,
      [response.status, this.#blurred(body)],
    ]);
  }

  /** A call that makes a task; gives its id, which stands for itself from here on. */
  async task<K extends 'CreateCopyTask' | 'CreateMoveTask'>(
    name: K,
    ...args: ArgsOf<MasterProtocol[K]>
  ): Promise<Uuid | null> {
    const answer = await this.call(name, ...args);
    return 'ok' in answer ? answer.ok : null;
  }

  /** Fetches until there are tasks for the client; gives their ids. */
  async untilTasks(client: Uuid): Promise<Uuid[]> {
    const hasTasks = (answer: ResultOf<MasterProtocol['FetchTasks']>) =>
      'ok' in answer && answer.ok.length > 0;
    const answer = await this.until(hasTasks, 'FetchTasks', client, 16);
    return 'ok' in answer ? answer.ok.map(({ id }) => id) : [];
  }

  /** Begins to empty segments; gives the id of the job. */
  async job(body: object): Promise<string> {
    const response = await fetch(`${this.master.adminUrl}/api/v1/drain_jobs`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as { job_id: string };
    this.lines.push([`job ${JSON.stringify(body)}`, [response.status, this.#blurred(answer)]]);
    return answer.job_id;
  }

  /** Waits until a job has this status, and writes down what is told of it. */
  async jobState(id: string, status: number): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const url = `${this.master.adminUrl}/api/v1/drain_jobs/query?job_id=${id}`;
      const job = (await (await fetch(url)).json()) as { status: number; active_units: number };
      // Between two looks of the master, a new job has not begun.
      if (job.status === status || (status === 1 && job.status === 2 && job.active_units > 0)) {
        this.lines.push(['job', this.#blurred(job)]);
        return;
      }
      await sleep(100);
    }
    throw new Error(`${this.master.kind}: job ${id} never had status ${status}`);
  }

  /** The lines of a text, in order: masters give them in any. */
  async sortedAdmin(path: string): Promise<void> {
    const text = await (await fetch(`${this.master.adminUrl}${path}`)).text();
    this.lines.push([`GET ${path}`, text.split('\n').toSorted()]);
  }

  /** The details of all segments, in order, and the bytes around them. */
  async segments(): Promise<void> {
    const text = await (await fetch(`${this.master.adminUrl}/get_segments_detail`)).text();
    const { segments, ...rest } = JSON.parse(text) as { segments: { segment_id: string }[] };
    segments.sort((left, right) => left.segment_id.localeCompare(right.segment_id));
    this.lines.push(['GET /get_segments_detail', this.#blurred([Object.keys(rest), segments])]);
  }

  /** Status and kind of content. */
  async headers(...paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const response = await fetch(`${this.master.adminUrl}${path}`);
      await response.arrayBuffer();
      this.lines.push([`HEAD ${path}`, [response.status, response.headers.get('content-type')]]);
    }
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
        this.lines.push([`until ${name}(${this.#shown(args)})`, this.#blurred(answer)]);
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
        if (varying.has(field)) return 'some';
        if (typeof value === 'string' && isRandomId.test(value)) return this.#nameOf(value);
        if (typeof value === 'bigint') return String(value);
        return typeof value === 'string' ? value.replaceAll(this.#directory, '{directory}') : value;
      }),
    );
  }

  #shown(args: readonly unknown[]): string {
    return JSON.stringify(args, (_, value: unknown) => {
      if (typeof value === 'string' && isRandomId.test(value)) return this.#nameOf(value);
      return typeof value === 'bigint' ? String(value) : value;
    }).slice(1, -1);
  }

  #nameOf(id: unknown): string {
    const kind = typeof id === 'number' ? 'replica' : 'id';
    const name = this.#ids.get(id) ?? `${kind} ${this.#ids.size + 1}`;
    this.#ids.set(id, name);
    return name;
  }
}

/** What masters make up; ids of the scripts are short. */
const isRandomId = /^\d{8,20}-\d{8,20}$/;
const varying = new Set([
  'createdAtMsEpoch',
  'lastUpdatedAtMsEpoch',
  'created_at_ms_epoch',
  'last_updated_at_ms_epoch',
]);

interface PutFields extends Partial<ReplicateConfig> {
  readonly tenant?: string;
  readonly writer?: Uuid;
}
