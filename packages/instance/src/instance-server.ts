import { getRequestListener } from '@hono/node-server';
import { HttpService, type Service } from '@tsukimi/base';
import type { InstanceApi } from './instance-api.ts';

export interface InstanceServerOptions {
  readonly api: InstanceApi;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
}

/** An instance's port. Goes up last and down first, so that whatever it takes can be served. */
export class InstanceServer implements Service {
  readonly name = 'instance';
  readonly #api: InstanceApi;
  readonly #http: HttpService;

  constructor({ api, host, port }: InstanceServerOptions) {
    this.#api = api;
    const listener = getRequestListener(api.app.fetch, { overrideGlobalObjects: false });
    this.#http = new HttpService({
      name: 'instance',
      host,
      port,
      listener: (request, response) => void listener(request, response),
    });
  }

  /** The port in use; only after `start`. */
  get port(): number {
    return this.#http.port;
  }

  async start(): Promise<void> {
    await this.#http.start();
    this.#api.ready = true;
  }

  ended(): Promise<void> {
    return this.#http.ended();
  }

  async stop(deadline: AbortSignal): Promise<void> {
    this.#api.drain();
    await this.#http.stop(deadline);
  }
}
