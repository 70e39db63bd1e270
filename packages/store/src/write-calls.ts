import type { CancelSignal } from '@tsukimi/base';
import { ErrorCode, type Expected, ReplicaType, type ReplicateConfig } from '@tsukimi/wire';
import type { MasterLink } from './master-link.ts';
import { memoryOf } from './replicas.ts';
import type { MemoryReplica } from './stored-object.ts';

/** `upsert` replaces what is there, `put` leaves it. */
export type WriteKind = 'put' | 'upsert';

/** What a caller who gave up still waits for, so that the master is not left with half-written objects. */
const revokeLimit = { timeoutMs: 1_000 };

export interface WriteStart {
  readonly key: string;
  readonly byteCount: number;
}

/** The calls that start, end and give up a write, each for many objects. */
export class WriteCalls {
  readonly #link: MasterLink;

  readonly #onShared: (key: string, path: string) => void;
  /** Files that the master wants written once these keys are in memory. */
  readonly #sharedPaths = new Map<string, string>();

  /** `onShared` is told of objects that can be read from memory now, and of the file to copy each to. */
  constructor(link: MasterLink, onShared: (key: string, path: string) => void) {
    this.#link = link;
    this.#onShared = onShared;
  }

  /** Where to write each of them; `INVALID_REPLICA` where this client cannot write to all places. */
  async start(
    kind: WriteKind,
    entries: readonly WriteStart[],
    config: ReplicateConfig,
    signal: CancelSignal,
  ): Promise<Expected<readonly MemoryReplica[]>[]> {
    const { clientId, tenantId } = this.#link;
    const name = kind === 'put' ? 'BatchPutStart' : 'BatchUpsertStart';
    const answers = await this.#link.askEach(
      name,
      entries.length,
      [
        clientId,
        entries.map(({ key }) => key),
        entries.map(({ byteCount }) => byteCount),
        config,
        tenantId,
      ],
      { signal },
    );
    return answers.map((answer, index) => {
      if ('error' in answer) return answer;
      const memory = memoryOf(answer.ok);
      const files = answer.ok.flatMap(({ location }) =>
        location.kind === 'disk' ? [location.filePath] : [],
      );
      const entry = entries[index];
      if (entry !== undefined && files[0] !== undefined) this.#sharedPaths.set(entry.key, files[0]);
      // All others must be written now, so one that we cannot write spoils the put.
      const isWhole =
        memory?.byteCount === entry?.byteCount &&
        memory?.replicas.length === answer.ok.length - files.length;
      return memory !== null && isWhole
        ? { ok: memory.replicas }
        : { error: ErrorCode.INVALID_REPLICA };
    });
  }

  /** Makes them readable. */
  async end(
    kind: WriteKind,
    metas: readonly { readonly key: string; readonly objectChecksum: bigint | null }[],
    signal: CancelSignal,
  ): Promise<readonly Expected<undefined>[]> {
    const { clientId, tenantId } = this.#link;
    const limit = { signal };
    const inMemory = metas.some(({ key }) => this.#sharedPaths.has(key));
    const type = inMemory ? ReplicaType.MEMORY : ReplicaType.ALL;
    const ends =
      kind === 'upsert'
        ? await this.#link.askEach(
            'BatchUpsertEnd',
            metas.length,
            [clientId, metas, tenantId],
            limit,
          )
        : await this.#link.askEach(
            'BatchPutEnd',
            metas.length,
            [clientId, metas, type, tenantId],
            limit,
          );
    if (inMemory) this.#share(metas, ends);
    return ends;
  }

  #share(metas: readonly { readonly key: string }[], ends: readonly Expected<undefined>[]): void {
    for (const [at, { key }] of metas.entries()) {
      const path = this.#sharedPaths.get(key);
      if (path === undefined || 'error' in (ends[at] as Expected<undefined>)) continue;
      this.#sharedPaths.delete(key);
      this.#onShared(key, path);
    }
  }

  /** Gives up writes of this client, within a limit of its own. What was never started is no matter. */
  async revoke(kind: WriteKind, keys: readonly string[]): Promise<readonly Expected<undefined>[]> {
    for (const key of keys) this.#sharedPaths.delete(key);
    const { clientId, tenantId } = this.#link;
    if (kind === 'upsert') {
      const args = [clientId, keys, tenantId] as const;
      return this.#link.askEach('BatchUpsertRevoke', keys.length, [...args], revokeLimit);
    }
    const args = [clientId, keys, ReplicaType.ALL, tenantId] as const;
    return this.#link.askEach('BatchPutRevoke', keys.length, [...args], revokeLimit);
  }
}

/** Without an answer the master may have started it all the same, and so it has where we cannot write. */
export function mayBeStarted(start: Expected<unknown>): boolean {
  if ('ok' in start) return true;
  return (
    start.error === ErrorCode.RPC_FAIL ||
    start.error === ErrorCode.RPC_TIMEOUT ||
    start.error === ErrorCode.INVALID_REPLICA
  );
}
