import {
  below,
  type Clock,
  deadline,
  Ending,
  type Logger,
  type Random,
  type Service,
  sleep,
} from '@tsukimi/base';

export type ProxyLeg = 'prefill' | 'decode';

export interface ProxyRegistrationOptions {
  /** Of proxies, without a slash at the end. */
  readonly urls: readonly string[];
  readonly adminApiKey: string;
  readonly leg: ProxyLeg;
  /** `host:port` at which proxies reach this instance; asked once it listens. */
  readonly address: () => string;
  /** How long a proxy keeps an instance that is silent. */
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

const callMs = 5_000;
/** Of a proxy that takes it with its first word back, or does not answer. */
const retryMs = 500;
const jitter = 0.2;
const answerCharCountMax = 500;

/**
 * Tells proxies that this instance is there, again and again, by `POST /instances/add` with
 * `ttl_seconds`, and by `POST /instances/drain` that it goes. A proxy that is away or refuses is
 * asked on; the instance serves all the same.
 */
export class ProxyRegistration implements Service {
  readonly name = 'registration';
  readonly #options: ProxyRegistrationOptions;
  readonly #ending = new Ending();
  readonly #stopping = new AbortController();
  /** Ends calls; a stop alone lets them end, so as to know what to take back. */
  readonly #cutting = new AbortController();
  #loops: readonly Promise<boolean>[] = [];

  constructor(options: ProxyRegistrationOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#loops = this.#options.urls.map((url) => this.#keepThere(url));
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(stopDeadline: AbortSignal): Promise<void> {
    this.#stopping.abort();
    const cut = () => this.#cutting.abort(stopDeadline.reason);
    if (stopDeadline.aborted) cut();
    else stopDeadline.addEventListener('abort', cut, { once: true });
    const { urls } = this.#options;
    await Promise.all(
      this.#loops.map(async (loop, at) => {
        // A proxy that never knew it has nothing to forget.
        if (await loop) await this.#call(urls[at] as string, 'drain', {});
      }),
    );
    this.#loops = [];
    stopDeadline.removeEventListener('abort', cut);
    this.#ending.stopped();
  }

  /** Until this stops; gives whether the proxy has ever known the instance. */
  async #keepThere(url: string): Promise<boolean> {
    const { clock, random, logger, ttlMs, leg } = this.#options;
    const { signal } = this.#stopping;
    let isKnown = false;
    let wasKnown = false;
    let told: string | null = null;
    let failureCount = 0;
    while (!signal.aborted) {
      const flaw = await this.#call(url, 'add', { ttl_seconds: ttlMs / 1_000 });
      failureCount = flaw === null ? 0 : failureCount + 1;
      if (flaw === null && !isKnown) logger.info('serve.registered', { proxy: url, as: leg });
      if (flaw !== null && flaw !== told) {
        logger.warn('serve.not_registered', { proxy: url, reason: flaw });
      }
      told = flaw;
      isKnown = flaw === null;
      wasKnown ||= isKnown;
      const periodMs = ttlMs / 3;
      const retryInMs = Math.min(periodMs, retryMs * 2 ** Math.min(failureCount - 1, 10));
      const share = 1 - jitter * (below(random, 1_000) / 1_000);
      await sleep(clock, (flaw === null ? periodMs : retryInMs) * share, signal);
    }
    return wasKnown;
  }

  /** Null when the proxy agreed, else why not. */
  async #call(url: string, verb: 'add' | 'drain', fields: object): Promise<string | null> {
    const { clock, adminApiKey, leg, address } = this.#options;
    using limit = deadline(clock, callMs, 'the proxy', this.#cutting.signal);
    try {
      const response = await fetch(`${url}/instances/${verb}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-api-key': adminApiKey },
        body: JSON.stringify({ type: leg, instance: address(), ...fields }),
        // The key is for this proxy alone.
        redirect: 'error',
        signal: limit.signal,
      });
      const text = await shortText(response);
      return response.ok ? null : `status ${response.status}: ${text}`;
    } catch (error) {
      const { message, cause } = error as Error;
      return cause instanceof Error && cause.message !== '' ? cause.message : message;
    }
  }
}

/** The beginning of the body; what comes after it is not read. */
async function shortText({ body }: Response): Promise<string> {
  if (body === null) return '';
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of body) {
    text += decoder.decode(piece as Uint8Array, { stream: true });
    if (text.length >= answerCharCountMax) break;
  }
  return text.slice(0, answerCharCountMax);
}
