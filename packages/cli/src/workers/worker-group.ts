import cluster, { type Worker } from 'node:cluster';
import {
  type Clock,
  Ending,
  every,
  Fault,
  type Logger,
  type Scheduled,
  type Service,
} from '@tsukimi/base';
import { exitCodes } from '../exit-codes.ts';
import { RestartPolicy } from '../up/restart-policy.ts';
import type { FromWorker, ToWorker } from './messages.ts';

export interface WorkerGroupOptions {
  readonly workerCount: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Those that have not answered a question by then are left out. */
const answerWithinMs = 1_000;

/** A worker tells something several times a second; one that is silent at so many looks in a row hangs. */
const silentLookCountMax = 8;
const lookPeriodMs = 1_000;

interface Question {
  readonly asker: Worker;
  readonly id: number;
  readonly open: Set<number>;
  readonly values: unknown[];
  readonly expiry: Scheduled;
}

/**
 * Runs this program's command in several processes that accept on the same port: starts them, starts
 * them again when they die, and carries what they tell and ask each other.
 */
export class WorkerGroup implements Service {
  readonly name = 'workers';
  readonly #options: WorkerGroupOptions;
  readonly #ending = new Ending();
  readonly #questions = new Map<number, Question>();
  readonly #restarts = new Set<Scheduled>();
  /** Those that have started, and can answer: at how many looks they have been silent. */
  readonly #ready = new Map<number, number>();
  #looking: Scheduled | null = null;
  #questionCount = 0;
  #stopping = false;

  constructor(options: WorkerGroupOptions) {
    this.#options = options;
  }

  /** Resolves when all are ready. */
  async start(): Promise<void> {
    // The kernel would wake whoever slept last, and give one worker most of the connections.
    cluster.schedulingPolicy = cluster.SCHED_RR;
    const { workerCount } = this.#options;
    const starts = Array.from({ length: workerCount }, () => this.#fork(new RestartPolicy()));
    try {
      await Promise.all(starts);
      this.#looking = every(this.#options.clock, lookPeriodMs, () => this.#look());
    } catch (error) {
      await this.stop(AbortSignal.abort());
      throw error;
    }
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(deadline: AbortSignal): Promise<void> {
    this.#stopping = true;
    this.#looking?.cancel();
    for (const scheduled of this.#restarts) scheduled.cancel();
    for (const { expiry } of this.#questions.values()) expiry.cancel();
    await Promise.all(this.#workers().map((worker) => stopped(worker, deadline)));
    this.#ending.stopped();
  }

  /** Resolves when the worker is ready; rejects when it refuses to start at all. */
  #fork(restarts: RestartPolicy): Promise<void> {
    const { clock, logger } = this.#options;
    const startMs = clock.monotonicMs();
    const worker = cluster.fork();
    return new Promise((resolve, reject) => {
      worker.on('message', (message: FromWorker) => {
        if (message.tsukimi === 'ready') {
          this.#ready.set(worker.id, 0);
          resolve();
        } else this.#receive(worker, message);
      });
      worker.once('exit', (code, signal) => {
        this.#ready.delete(worker.id);
        for (const question of this.#questions.values()) this.#answered(question, worker.id);
        if (this.#stopping) return resolve();
        if (code === exitCodes.misconfigured) {
          return reject(new Fault('MISCONFIGURED', 'the workers refused to start, see above'));
        }
        const delayMs = restarts.nextDelayMs(clock.monotonicMs() - startMs);
        logger.error('workers.died', { pid: worker.process.pid, reason: signal ?? code, delayMs });
        const scheduled = clock.schedule(delayMs, () => {
          this.#restarts.delete(scheduled);
          this.#fork(restarts).then(resolve, reject);
        });
        this.#restarts.add(scheduled);
      });
    });
  }

  /** A pause of the whole machine counts as a single look. */
  #look(): void {
    for (const worker of this.#workers()) {
      const silentCount = this.#ready.get(worker.id);
      if (silentCount === undefined) continue;
      this.#ready.set(worker.id, silentCount + 1);
      if (silentCount < silentLookCountMax) continue;
      this.#options.logger.error('workers.hangs', { pid: worker.process.pid });
      worker.process.kill('SIGKILL');
    }
  }

  #receive(worker: Worker, message: Exclude<FromWorker, { tsukimi: 'ready' }>): void {
    const { clock } = this.#options;
    this.#ready.set(worker.id, 0);
    const others = this.#workers().filter(({ id }) => id !== worker.id && this.#ready.has(id));
    switch (message.tsukimi) {
      case 'tell': {
        const { topic, value } = message;
        for (const other of others) send(other, { tsukimi: 'told', topic, value });
        break;
      }
      case 'ask': {
        const id = this.#questionCount;
        this.#questionCount += 1;
        const question: Question = {
          asker: worker,
          id: message.id,
          open: new Set(others.map((other) => other.id)),
          values: [],
          expiry: clock.schedule(answerWithinMs, () => this.#close(id)),
        };
        this.#questions.set(id, question);
        for (const other of others) send(other, { tsukimi: 'question', id, topic: message.topic });
        if (others.length === 0) this.#close(id);
        break;
      }
      case 'reply': {
        const question = this.#questions.get(message.id);
        if (question === undefined || !question.open.has(worker.id)) return;
        question.values.push(message.value);
        this.#answered(question, worker.id);
        break;
      }
    }
  }

  #answered(question: Question, workerId: number): void {
    if (!question.open.delete(workerId) || question.open.size > 0) return;
    for (const [id, one] of this.#questions) if (one === question) this.#close(id);
  }

  #close(id: number): void {
    const question = this.#questions.get(id);
    if (question === undefined) return;
    this.#questions.delete(id);
    question.expiry.cancel();
    send(question.asker, { tsukimi: 'answers', id: question.id, values: question.values });
  }

  #workers(): Worker[] {
    return Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined);
  }
}

function send(worker: Worker, message: ToWorker): void {
  if (worker.isConnected()) worker.send(message);
}

async function stopped(worker: Worker, deadline: AbortSignal): Promise<void> {
  if (worker.isDead()) return;
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const kill = () => worker.process.kill('SIGKILL');
  if (deadline.aborted) kill();
  else deadline.addEventListener('abort', kill, { once: true });
  worker.process.kill('SIGTERM');
  await exited;
  deadline.removeEventListener('abort', kill);
}
