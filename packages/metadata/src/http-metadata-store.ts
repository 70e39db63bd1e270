import { type Clock, deadline, Fault } from '@tsukimi/base';
import { Pool } from 'undici';
import { type JsonValue, parseJson, sortedJson } from './json.ts';
import type { ClosableMetadataStore, MetadataCallOptions } from './metadata-store.ts';

export interface HttpMetadataStoreOptions {
  readonly url: URL;
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  /** For a whole call. */
  readonly timeoutMs?: number;
  readonly valueBytesMax?: number;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** The client side of Mooncake's HTTP metadata: `<base URL>?key=<key>`, success is status 200 alone. */
export class HttpMetadataStore implements ClosableMetadataStore {
  readonly #options: HttpMetadataStoreOptions;
  readonly #pool: Pool;
  readonly #path: string;

  constructor(options: HttpMetadataStoreOptions) {
    this.#options = options;
    this.#path = options.url.pathname;
    this.#pool = new Pool(options.url.origin, {
      connections: 4,
      connect: { timeout: options.connectTimeoutMs ?? 1_000 },
    });
  }

  async get(key: string, options: MetadataCallOptions = {}): Promise<JsonValue | null> {
    const { status, text } = await this.#call('GET', key, null, options);
    if (status === 404) return null;
    if (status !== 200) throw this.#refused('GET', key, status, text);
    return parseJson(text, `metadata of ${key}`);
  }

  async put(key: string, value: JsonValue, options: MetadataCallOptions = {}): Promise<void> {
    const { status, text } = await this.#call('PUT', key, sortedJson(value), options);
    if (status === 200) return;
    if (status === 400 && /duplicate/i.test(text)) {
      throw new Fault('ALREADY_EXISTS', `metadata: another engine holds ${key}`);
    }
    throw this.#refused('PUT', key, status, text);
  }

  async remove(key: string, options: MetadataCallOptions = {}): Promise<boolean> {
    const { status, text } = await this.#call('DELETE', key, null, options);
    if (status === 404) return false;
    if (status !== 200) throw this.#refused('DELETE', key, status, text);
    return true;
  }

  /** Ends idle connections and fails what is under way. */
  async close(): Promise<void> {
    await this.#pool.destroy();
  }

  async #call(
    method: 'GET' | 'PUT' | 'DELETE',
    key: string,
    body: string | null,
    options: MetadataCallOptions,
  ): Promise<Answer> {
    const { clock, url, timeoutMs = 3_000, valueBytesMax = 2 ** 20 } = this.#options;
    using limit = deadline(clock, timeoutMs, `metadata server ${url.origin}`, options.signal);
    try {
      const { statusCode, body: stream } = await this.#pool.request({
        method,
        path: `${this.#path}?key=${escapeAsLibcurl(key)}`,
        body,
        headers: body === null ? {} : { 'content-type': 'application/json' },
        signal: limit.signal,
      });
      const chunks: Buffer[] = [];
      let byteCount = 0;
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        byteCount += chunk.length;
        if (byteCount > valueBytesMax) {
          throw new Fault('TOO_LARGE', `metadata of ${key}: exceeds ${valueBytesMax} bytes`);
        }
        chunks.push(chunk);
      }
      return { status: statusCode, text: Buffer.concat(chunks).toString('utf8') };
    } catch (error) {
      if (error instanceof Fault) throw error;
      if (limit.signal.aborted) throw limit.signal.reason;
      throw new Fault('PEER_UNREACHABLE', `metadata server ${url.origin} does not answer`, {
        cause: error,
      });
    }
  }

  #refused(method: string, key: string, status: number, text: string): Fault {
    const { origin } = this.#options.url;
    return new Fault(
      'REFUSED',
      `metadata server ${origin} answered ${method} of ${key} with ${status}: ${text.slice(0, 200)}`,
      { details: { code: status } },
    );
  }
}

/**
 * Every byte except `A-Z a-z 0-9 - . _ ~` as `%XX`. Exactly libcurl's form, since Mooncake's own
 * server compares keys without decoding them.
 */
function escapeAsLibcurl(text: string): string {
  // Through a Buffer, since a lone surrogate would make encodeURIComponent throw.
  return encodeURIComponent(Buffer.from(text).toString()).replace(
    /[!'()*]/g,
    (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
