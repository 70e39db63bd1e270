import type { CancelSignal } from '@tsukimi/base';
import { ErrorCode, type Expected } from '@tsukimi/wire';
import type { Operations } from './operations.ts';
import type { CallOptions, Outcome } from './stored-object.ts';

/** Keys of one call to the master. More are asked for in several calls. */
const batchKeyCountMax = 1_024;

/** Lets operations in while the client lives and the master answers, each with a limit of time. */
export class Gate {
  readonly #operations: Operations;
  readonly #isReachable: () => boolean;

  constructor(operations: Operations, isReachable: () => boolean) {
    this.#operations = operations;
    this.#isReachable = isReachable;
  }

  async one<T>(
    what: string,
    limitMs: number,
    { signal, timeoutMs = limitMs }: CallOptions,
    act: (signal: CancelSignal) => Promise<Expected<T>>,
  ): Promise<Outcome<T>> {
    const closed = this.#refusal(signal);
    if (closed !== null) return { error: closed };
    const outcome = await this.#operations.run(what, timeoutMs, signal, act);
    return outcome ?? { error: ErrorCode.UNAVAILABLE_IN_CURRENT_STATUS };
  }

  /** `act` gets as many elements at a time as one call may have, and gives one outcome for each. */
  async each<I, T>(
    what: string,
    limitMs: number,
    items: readonly I[],
    { signal, timeoutMs = limitMs }: CallOptions,
    act: (batch: readonly I[], signal: CancelSignal) => Promise<readonly Expected<T>[]>,
  ): Promise<Outcome<T>[]> {
    if (items.length === 0) return [];
    const closed = this.#refusal(signal);
    if (closed !== null) return items.map(() => ({ error: closed }));
    const outcomes = await this.#operations.run(what, timeoutMs, signal, async (limit) => {
      const all: Outcome<T>[] = [];
      for (let at = 0; at < items.length; at += batchKeyCountMax) {
        const isWhole = items.length <= batchKeyCountMax;
        const batch = isWhole ? items : items.slice(at, at + batchKeyCountMax);
        all.push(...(await act(batch, limit)));
      }
      return all;
    });
    return outcomes ?? items.map(() => ({ error: ErrorCode.UNAVAILABLE_IN_CURRENT_STATUS }));
  }

  #refusal(signal: CancelSignal | undefined): number | null {
    if (this.#operations.isClosed) return ErrorCode.UNAVAILABLE_IN_CURRENT_STATUS;
    if (signal?.aborted) return ErrorCode.RPC_TIMEOUT;
    return this.#isReachable() ? null : ErrorCode.RPC_FAIL;
  }
}
