import { Ending, type Service } from './service.ts';

/** Something that is there already and only wants to be closed, in its turn among the services. */
export class Resource implements Service {
  readonly name: string;
  readonly #close: () => Promise<void>;
  readonly #ending = new Ending();

  constructor(name: string, close: () => Promise<void>) {
    this.name = name;
    this.#close = close;
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    await this.#close();
    this.#ending.stopped();
  }
}
