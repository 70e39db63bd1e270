import { createInterface } from 'node:readline';
import type { Started } from '../e2e/processes.ts';

class WorkerError extends Error {}

interface Answer {
  readonly result?: unknown;
  readonly raised?: string;
}

/** A process that makes calls as it is told: one JSON object a line, both ways. */
export class Worker {
  readonly started: Started;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #nextId = 1;

  /** Of a process whose standard input and output are pipes. */
  constructor(started: Started) {
    this.started = started;
    const { stdin, stdout } = started.child;
    if (stdin === null || stdout === null) throw new Error('the worker has no pipes');
    // One that was killed does not read any more; its calls are answered below.
    stdin.on('error', () => {});
    createInterface({ input: stdout }).on('line', (line) => {
      const answer = JSON.parse(line) as Answer & { readonly id: number };
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    void started.exited.then(([code, signal]) => {
      for (const settle of this.#waiting.values()) {
        settle({ raised: `the process has ended: ${code ?? signal}` });
      }
      this.#waiting.clear();
    });
  }

  async call<T>(on: string, call: string, args: readonly unknown[], limitMs = 100_000): Promise<T> {
    const { child } = this.started;
    const id = this.#nextId++;
    const answer = await new Promise<Answer>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) {
        resolve({ raised: `the process has ended: ${child.exitCode ?? child.signalCode}` });
        return;
      }
      const limit = setTimeout(() => {
        resolve({ raised: `no answer to ${call} within ${limitMs} ms` });
      }, limitMs);
      this.#waiting.set(id, (settled) => {
        clearTimeout(limit);
        resolve(settled);
      });
      child.stdin?.write(`${JSON.stringify({ id, on, call, args })}\n`);
    });
    if (answer.raised !== undefined) {
      throw new WorkerError(`${call}: ${answer.raised}\n${this.started.log().slice(-2_000)}`);
    }
    return answer.result as T;
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    this.started.child.kill('SIGKILL');
    await this.started.exited;
  }
}
