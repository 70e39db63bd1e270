/** Test aids: a metadata store in memory, for tests that need none of the wire, and real servers. */

import { Fault } from '@tsukimi/base';
import type { JsonValue } from './json.ts';
import { parseJson, sortedJson } from './json.ts';
import type { MetadataStore } from './metadata-store.ts';

export {
  freePort,
  makeCertificates,
  RealServer,
  startEtcd,
  startRedis,
} from './testing/real-servers.ts';

/** Values go through their JSON text, so what comes back is what a server would give back. */
export class MemoryMetadataStore implements MetadataStore {
  readonly values = new Map<string, string>();
  /** While true every call fails as if the server were down. */
  down = false;
  putCount = 0;

  async get(key: string): Promise<JsonValue | null> {
    this.#checkUp();
    const text = this.values.get(key);
    return text === undefined ? null : parseJson(text, key);
  }

  async put(key: string, value: JsonValue): Promise<void> {
    this.#checkUp();
    const text = sortedJson(value);
    const old = this.values.get(key);
    if (key.includes('rpc_meta') && old !== undefined && old !== text) {
      throw new Fault('ALREADY_EXISTS', `metadata: another engine holds ${key}`);
    }
    this.values.set(key, text);
    this.putCount += 1;
  }

  async remove(key: string): Promise<boolean> {
    this.#checkUp();
    return this.values.delete(key);
  }

  #checkUp(): void {
    if (this.down) throw new Fault('PEER_UNREACHABLE', 'metadata server does not answer');
  }
}
