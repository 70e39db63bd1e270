import type { Headers } from './http-answers.ts';

export interface CorsOptions {
  /** As browsers send them, `https://app.example`; `*` for all. Empty: no browser page of another origin. */
  readonly allowedOrigins: readonly string[];
}

const preflightAgeSeconds = 600;
const exposed =
  'x-request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, ' +
  'x-tsukimi-prefill, x-tsukimi-decode, x-tsukimi-overhead-ms';

/**
 * Which pages of other origins may use the proxy from a browser. Credentials are never allowed beyond
 * the `Authorization` header, so that `*` gives nothing away.
 */
export class Cors {
  readonly #origins: ReadonlySet<string>;

  constructor(options: CorsOptions) {
    this.#origins = new Set(options.allowedOrigins);
  }

  /** For any answer to a request with this `Origin`; null when the origin may not see it. */
  headersFor(origin: string): Headers | null {
    if (this.#origins.has('*')) {
      return { 'access-control-allow-origin': '*', 'access-control-expose-headers': exposed };
    }
    if (!this.#origins.has(origin)) return null;
    return {
      'access-control-allow-origin': origin,
      'access-control-expose-headers': exposed,
      vary: 'origin',
    };
  }

  /** For the question before the request: `asked` is its `Access-Control-Request-Headers`. */
  preflightHeaders(methods: readonly string[], asked: string | undefined): Headers {
    return {
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': asked ?? 'authorization, content-type',
      'access-control-max-age': String(preflightAgeSeconds),
    };
  }
}
