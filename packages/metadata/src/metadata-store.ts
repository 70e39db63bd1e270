import type { JsonValue } from './json.ts';

export interface MetadataCallOptions {
  readonly signal?: AbortSignal;
}

/**
 * A flat table of JSON values shared by all engines of a cluster. Calls end within the adapter's own
 * deadline and reject with `PEER_UNREACHABLE`, `DEADLINE_PASSED`, `MALFORMED` or `REFUSED`.
 */
export interface MetadataStore {
  /** The value, or null when there is none. */
  get(key: string, options?: MetadataCallOptions): Promise<JsonValue | null>;
  /** Rejects with `ALREADY_EXISTS` when `key` is an rpc_meta key that another engine holds. */
  put(key: string, value: JsonValue, options?: MetadataCallOptions): Promise<void>;
  /** Whether there was something to remove. */
  remove(key: string, options?: MetadataCallOptions): Promise<boolean>;
}

/** A store with connections of its own. What it keeps alive for this process ends with `close`. */
export interface ClosableMetadataStore extends MetadataStore {
  close(): Promise<void>;
}
