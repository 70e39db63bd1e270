import type { Worker } from 'node:cluster';
import type { Clock } from '@tsukimi/base';
import type { Peers, PeerTopic } from '@tsukimi/proxy';
import type { FromWorker, ToWorker } from './messages.ts';

export interface WorkerPeersOptions {
  /** This process, as its parent knows it. */
  readonly worker: Worker;
  readonly workerCount: number;
  readonly clock: Clock;
}

/** The parent gives up on silent workers after a second; this is for a parent that is silent itself. */
const askWithinMs = 1_500;

/** The other workers, reached through the process that started them all. */
export class WorkerPeers implements Peers {
  readonly id: number;
  readonly workerCount: number;
  readonly #worker: Worker;
  readonly #clock: Clock;
  readonly #told = new Map<string, (value: unknown) => void>();
  readonly #asked = new Map<string, () => unknown>();
  readonly #waiting = new Map<number, (values: readonly unknown[]) => void>();
  #askCount = 0;

  constructor(options: WorkerPeersOptions) {
    this.workerCount = options.workerCount;
    this.#worker = options.worker;
    this.id = options.worker.id;
    this.#clock = options.clock;
    this.#worker.on('message', (message: ToWorker) => this.#receive(message));
  }

  ready(): void {
    this.#send({ tsukimi: 'ready' });
  }

  tell(topic: PeerTopic, value: unknown): void {
    this.#send({ tsukimi: 'tell', topic, value });
  }

  onTold(topic: PeerTopic, handle: (value: unknown) => void): void {
    this.#told.set(topic, handle);
  }

  ask(topic: PeerTopic): Promise<readonly unknown[]> {
    return new Promise((resolve) => {
      const id = this.#askCount;
      this.#askCount += 1;
      const finish = (values: readonly unknown[]) => {
        expiry.cancel();
        this.#waiting.delete(id);
        resolve(values);
      };
      const expiry = this.#clock.schedule(askWithinMs, () => finish([]));
      this.#waiting.set(id, finish);
      this.#send({ tsukimi: 'ask', id, topic });
    });
  }

  onAsked(topic: PeerTopic, answer: () => unknown): void {
    this.#asked.set(topic, answer);
  }

  #receive(message: ToWorker): void {
    switch (message.tsukimi) {
      case 'told':
        this.#told.get(message.topic)?.(message.value);
        break;
      case 'question':
        this.#send({
          tsukimi: 'reply',
          id: message.id,
          value: this.#asked.get(message.topic)?.() ?? null,
        });
        break;
      case 'answers':
        this.#waiting.get(message.id)?.(message.values);
        break;
    }
  }

  #send(message: FromWorker): void {
    // A parent that is gone is noticed by the closed channel, which ends this process.
    if (this.#worker.isConnected()) this.#worker.send(message);
  }
}
