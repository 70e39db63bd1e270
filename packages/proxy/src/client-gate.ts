import { type Clock, Fault } from '@tsukimi/base';
import type { ClientKey, ClientKeys } from './core/client-keys.ts';
import type { Headers } from './http-answers.ts';

export interface ClientGateOptions {
  readonly keys: ClientKeys;
  readonly clock: Clock;
}

/** A request that may go on. */
export interface Pass {
  /** Whose it is, for fairness, logs and counts; empty where no keys are asked for. */
  readonly client: string;
  /** For the answer: what is left of the key's allowance. */
  readonly headers: Headers;
  /** To be called once, when the request is over. */
  leave(): void;
}

const anybody: Pass = { client: '', headers: {}, leave: () => {} };

/** Decides from the headers alone, before a byte of the body is read, who may come in. */
export class ClientGate {
  readonly #keys: ClientKeys;
  readonly #clock: Clock;

  constructor(options: ClientGateOptions) {
    this.#keys = options.keys;
    this.#clock = options.clock;
  }

  /** True when `Authorization` is meant for the proxy, and instances must not see it. */
  get keepsAuthorization(): boolean {
    return this.#keys.required;
  }

  /** Throws a `Fault` with status 401 or 429 in its details. */
  enter(headers: Readonly<Record<string, string | string[] | undefined>>): Pass {
    if (!this.#keys.required) return anybody;
    const key = this.#keyOf(headers);
    const entry = this.#keys.enter(key, this.#clock.monotonicMs());
    if (!entry.allowed) throw refusal(key, entry);
    let inside = true;
    return {
      client: key.name,
      headers: limitHeaders(key, entry.remaining),
      leave: () => {
        if (inside) this.#keys.leave(key);
        inside = false;
      },
    };
  }

  /** For what costs nothing: a known key is enough. Throws as `enter` does. */
  check(headers: Readonly<Record<string, string | string[] | undefined>>): void {
    if (this.#keys.required) this.#keyOf(headers);
  }

  #keyOf(headers: Readonly<Record<string, string | string[] | undefined>>): ClientKey {
    const given = keyIn(headers);
    if (given === null) {
      throw unauthorized('no API key: send the header "Authorization: Bearer KEY"');
    }
    const key = this.#keys.find(given);
    if (key === null) throw unauthorized('the API key is not known here');
    return key;
  }
}

/** OpenAI's clients send a bearer token, Anthropic's `x-api-key`. */
function keyIn(headers: Readonly<Record<string, string | string[] | undefined>>): string | null {
  const { authorization, 'x-api-key': apiKey } = headers;
  if (typeof authorization === 'string') {
    return /^Bearer +(\S+) *$/i.exec(authorization)?.[1] ?? null;
  }
  return typeof apiKey === 'string' && apiKey !== '' ? apiKey : null;
}

function unauthorized(message: string): Fault {
  return new Fault('UNAUTHORIZED', message, { details: { status: 401, code: 'invalid_api_key' } });
}

function refusal(
  key: ClientKey,
  why: { why: 'rate' | 'concurrency'; retryAfterMs: number },
): Fault {
  const message =
    why.why === 'rate'
      ? `the key "${key.name}" may send ${key.requestsPerMinute} requests a minute`
      : `the key "${key.name}" may have ${key.concurrencyMax} requests in progress`;
  return new Fault('OVERLOADED', message, {
    details: {
      status: 429,
      code: 'rate_limit_exceeded',
      retryAfterSeconds: Math.ceil(why.retryAfterMs / 1_000),
    },
  });
}

function limitHeaders(key: ClientKey, remaining: number | null): Headers {
  if (remaining === null || key.requestsPerMinute === null) return {};
  return {
    'x-ratelimit-limit-requests': String(key.requestsPerMinute),
    'x-ratelimit-remaining-requests': String(remaining),
  };
}
