import type { CancelSignal, Clock } from '@tsukimi/base';
import { ErrorCode, type Expected } from '@tsukimi/wire';
import type { MasterLink } from './master-link.ts';
import { readableOf } from './replicas.ts';
import type { StoredObject } from './stored-object.ts';

/** The questions where objects are. Both kinds of answers lease what they speak of. */
export class Lookups {
  readonly #link: MasterLink;
  readonly #clock: Clock;

  constructor(link: MasterLink, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
  }

  /** `INVALID_REPLICA` for what is there, but neither in memory nor on a disk that we can read. */
  async find(keys: readonly string[], signal: CancelSignal): Promise<Expected<StoredObject>[]> {
    // The lease began at the master later than this, and so ends later than we think.
    const sentMs = this.#clock.monotonicMs();
    const { tenantId } = this.#link;
    const args = [keys, tenantId] as const;
    const answers = await this.#link.askEach('BatchGetReplicaList', keys.length, [...args], {
      signal,
    });
    return answers.map((answer, index) => {
      if ('error' in answer) return answer;
      const { replicas: descriptors, leaseTtlMs, objectChecksum: checksum } = answer.ok;
      const readable = readableOf(descriptors);
      if (readable === null) return { error: ErrorCode.INVALID_REPLICA };
      const { byteCount, replicas } = readable;
      const leaseUntilMs = sentMs + leaseTtlMs;
      return {
        ok: {
          key: keys[index] as string,
          byteCount,
          replicas,
          descriptors,
          checksum,
          leaseUntilMs,
        },
      };
    });
  }

  exist(keys: readonly string[], signal: CancelSignal): Promise<readonly Expected<boolean>[]> {
    const { tenantId } = this.#link;
    return this.#link.askEach('BatchExistKey', keys.length, [keys, tenantId], { signal });
  }
}
