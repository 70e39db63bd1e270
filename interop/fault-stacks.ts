import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts, Processes } from '../e2e/processes.ts';
import { type Master, startOwnMaster, startRealMaster } from './masters.ts';
import { type Member, type MemberKind, startMember } from './members.ts';

/** Who is put to the test. */
const makers = {
  real: { master: 'real', clients: 'real' },
  'our clients, real master': { master: 'real', clients: 'own' },
  'real clients, our master': { master: 'own', clients: 'real' },
  ours: { master: 'own', clients: 'own' },
} as const satisfies Record<string, { readonly master: MemberKind; readonly clients: MemberKind }>;

export type StackName = keyof typeof makers;

/** Processes of one row and one stack. */
export class Stack implements AsyncDisposable {
  readonly processes = new Processes();
  /** Null takes the metadata server inside the master. */
  readonly #metadata: string | null;
  readonly #makers: (typeof makers)[StackName];
  #port = 0;
  #master: Master | null = null;

  constructor(name: StackName, metadata: string | null = null) {
    this.#makers = makers[name];
    this.#metadata = metadata;
  }

  get hasOwnClients(): boolean {
    return this.#makers.clients === 'own';
  }

  get master(): Master {
    if (this.#master === null) throw new Error('no master was started');
    return this.#master;
  }

  /** The same one again, after it was killed; ours goes on from its journal. */
  async startMaster(): Promise<void> {
    this.#port ||= await freePorts(3);
    const journal = join(this.processes.directory, 'journal');
    const options = { firstPort: this.#port };
    this.#master =
      this.#makers.master === 'real'
        ? await startRealMaster(this.processes, options)
        : await startOwnMaster(this.processes, { ...options, flags: ['--journal-dir', journal] });
  }

  async killMaster(): Promise<void> {
    this.master.started.child.kill('SIGKILL');
    await this.master.started.exited;
  }

  startMember(segmentByteCount = 0): Promise<Member> {
    const { clients } = this.#makers;
    const metadata = this.#metadata ?? this.master.metadata;
    return startMember(clients, this.processes, { ...this.master, metadata }, segmentByteCount);
  }

  /** Resident and virtual memory of the master, in MiB. */
  memory(): { readonly resident: number; readonly virtual: number } {
    const status = readFileSync(`/proc/${this.master.started.child.pid}/status`, 'utf8');
    const field = (name: string) =>
      Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1_024);
    return { resident: field('VmRSS'), virtual: field('VmSize') };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.processes[Symbol.asyncDispose]();
  }
}

export interface Timed<T> {
  readonly value: T;
  readonly tookMs: number;
}

export async function timed<T>(act: Promise<T>): Promise<Timed<T>> {
  const startMs = performance.now();
  const value = await act;
  return { value, tookMs: performance.now() - startMs };
}

/** Calls `act` again and again, with pauses, until it gives something or the time is up: null then. */
export async function until<T>(
  act: () => Promise<T | null>,
  limitMs: number,
  pauseMs = 50,
): Promise<Timed<T> | null> {
  const startMs = performance.now();
  while (performance.now() - startMs < limitMs) {
    const value = await act();
    if (value !== null) return { value, tookMs: performance.now() - startMs };
    await pause(pauseMs);
  }
  return null;
}

/** As the table shows a time. */
export const seconds = (ms: number) => `${(ms / 1_000).toFixed(ms < 1_000 ? 2 : 1)} s`;
