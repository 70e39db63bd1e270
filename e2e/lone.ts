import { ask } from './client.ts';
import { freePorts, Processes, untilReady } from './processes.ts';

/** One instance without a store, asked one request at a time: what every other set-up must equal. */
export class LoneInstance implements AsyncDisposable {
  readonly url: string;
  readonly #processes: Processes;

  private constructor(url: string, processes: Processes) {
    this.url = url;
    this.#processes = processes;
  }

  static async start(model: string): Promise<LoneInstance> {
    const processes = new Processes();
    const port = await freePorts(1);
    const url = `http://127.0.0.1:${port}`;
    const started = processes.start([
      ...['serve', '--model', model, '--host', '127.0.0.1', '--port', String(port)],
      ...['--max-num-seqs', '1', '--threads', '1'],
    ]);
    await untilReady(`${url}/ready`, started);
    return new LoneInstance(url, processes);
  }

  /** Greedy texts, one after the other. */
  async texts(bodies: readonly Readonly<Record<string, unknown>>[]): Promise<string[]> {
    const texts: string[] = [];
    for (const body of bodies) {
      const answer = await ask(this.url, { ...body, stream: false });
      if (answer.failure !== null) throw new Error(answer.failure);
      texts.push(answer.text);
    }
    return texts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#processes[Symbol.asyncDispose]();
  }
}
