import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { type Clock, every, formatAddress, type Logger, type Scheduled } from '@tsukimi/base';
import { exitCodes } from '../exit-codes.ts';
import type { ChildPlan } from './cluster-plan.ts';
import { RestartPolicy } from './restart-policy.ts';

export type ChildState =
  | { readonly state: 'starting' }
  | { readonly state: 'ready' }
  | { readonly state: 'restarting'; readonly inMs: number; readonly reason: string }
  /** It refused its own configuration: starting it again would not help. */
  | { readonly state: 'refused' }
  | { readonly state: 'stopped' };

export interface ChildOptions {
  readonly plan: ChildPlan;
  readonly programPath: string;
  readonly nodePath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logPath: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onChange: () => void;
  readonly onExit: () => void;
}

const probePeriodMs = 150;

/**
 * One supervised process: started, probed until ready, started again with back-off when it dies.
 * Its standard input is a pipe that nobody writes to; its end tells the child that this process is gone.
 */
export class Child {
  readonly plan: ChildPlan;
  readonly #options: ChildOptions;
  readonly #restarts = new RestartPolicy();
  #state: ChildState = { state: 'starting' };
  #process: ChildProcess | null = null;
  #startedAtMs = 0;
  #probe: Scheduled | null = null;
  #restart: Scheduled | null = null;
  #stopping = false;
  #exited: Promise<void> = Promise.resolve();

  constructor(options: ChildOptions) {
    this.plan = options.plan;
    this.#options = options;
  }

  get state(): ChildState {
    return this.#state;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  start(): void {
    const { nodePath, programPath, env, logPath, clock } = this.#options;
    const log = openSync(logPath, 'a');
    // A process group of its own keeps the terminal's Ctrl-C from reaching it before we ask it to stop.
    const child = spawn(nodePath, [programPath, ...this.plan.args], {
      stdio: ['pipe', log, log],
      env: { ...env, TSUKIMI_LIFELINE: 'stdin' },
      detached: true,
    });
    closeSync(log);
    this.#process = child;
    this.#startedAtMs = clock.monotonicMs();
    this.#set({ state: 'starting' });
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#died(String(error), null);
        resolve();
      });
      child.once('exit', (code, signal) => {
        this.#died(signal ?? `exit code ${code}`, code);
        resolve();
      });
    });
    this.#probe = every(clock, probePeriodMs, () => this.#probeOnce(child));
  }

  /** Asks it to finish and waits; kills it when `deadline` fires. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true;
    this.#restart?.cancel();
    this.#probe?.cancel();
    const child = this.#process;
    if (child !== null && child.exitCode === null && child.signalCode === null) {
      const kill = () => child.kill('SIGKILL');
      if (deadline.aborted) kill();
      else deadline.addEventListener('abort', kill, { once: true });
      child.kill('SIGTERM');
      await this.#exited;
      deadline.removeEventListener('abort', kill);
    }
    this.#set({ state: 'stopped' });
  }

  async #probeOnce(child: ChildProcess): Promise<void> {
    if (child !== this.#process || this.#state.state !== 'starting') return;
    const abort = new AbortController();
    const limit = this.#options.clock.schedule(1_000, () => abort.abort());
    try {
      const answer = await fetch(this.plan.readyUrl, { signal: abort.signal });
      await answer.arrayBuffer();
      if (answer.ok && child === this.#process && this.#state.state === 'starting') {
        this.#set({ state: 'ready' });
        this.#probe?.cancel();
      }
    } catch {
      // Not listening yet: the next probe asks again.
    } finally {
      limit.cancel();
    }
  }

  #died(reason: string, code: number | null): void {
    const { clock } = this.#options;
    this.#probe?.cancel();
    this.#options.onExit();
    if (this.#stopping) return;
    if (code === exitCodes.misconfigured) {
      this.#set({ state: 'refused' });
      return;
    }
    const inMs = this.#restarts.nextDelayMs(clock.monotonicMs() - this.#startedAtMs);
    this.#set({ state: 'restarting', inMs, reason });
    this.#restart = clock.schedule(inMs, () => this.start());
  }

  #set(next: ChildState): void {
    this.#state = next;
    this.#options.logger.info('up.child', {
      name: this.plan.name,
      pid: this.pid,
      address: formatAddress(this.plan.address),
      ...next,
    });
    this.#options.onChange();
  }
}
