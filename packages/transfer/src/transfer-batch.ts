import { Cancelling, type CancelSignal, orAborted } from '@tsukimi/base';

export interface TransferRequest {
  readonly kind: 'read' | 'write';
  readonly endpoint: string;
  /** In the peer's memory. */
  readonly address: bigint;
  /** Filled by a read, sent by a write; the caller's own again when the request is no longer pending. */
  readonly bytes: Buffer;
}

export type TransferStatus =
  | { readonly state: 'pending' }
  | { readonly state: 'done' }
  | { readonly state: 'failed'; readonly reason: Error };

const pending: TransferStatus = { state: 'pending' };
const done: TransferStatus = { state: 'done' };

/** Transfers that were submitted together. One that fails does not hold the others up. */
export class TransferBatch {
  readonly #statuses: TransferStatus[];
  readonly #cancelling = new Cancelling();
  readonly #settled: Promise<void>;
  #pendingCount: number;
  #failedCount = 0;

  /** `start` begins one of them, which ends when its signal fires; `parent` cancels all. */
  constructor(
    requests: readonly TransferRequest[],
    start: (request: TransferRequest, signal: CancelSignal) => Promise<void>,
    parent?: CancelSignal,
  ) {
    this.#statuses = requests.map(() => pending);
    this.#pendingCount = requests.length;
    const follow = () => this.#cancelling.abort(parent?.reason);
    if (parent?.aborted) follow();
    else parent?.addEventListener('abort', follow, { once: true });
    const all = requests.map((request, index) =>
      start(request, this.#cancelling).then(
        () => this.#settle(index, done),
        (reason: Error) => this.#settle(index, { state: 'failed', reason }),
      ),
    );
    this.#settled = Promise.all(all).then(() => parent?.removeEventListener('abort', follow));
  }

  get pendingCount(): number {
    return this.#pendingCount;
  }

  get failedCount(): number {
    return this.#failedCount;
  }

  /** Of each request, in the order of submission, as of now. */
  get statuses(): readonly TransferStatus[] {
    return this.#statuses;
  }

  /** Resolves when none is pending. Rejects with the reason of `signal`, and the transfers go on. */
  async wait(signal?: CancelSignal): Promise<readonly TransferStatus[]> {
    await (signal === undefined ? this.#settled : orAborted(this.#settled, signal));
    return this.#statuses;
  }

  /** Fails what is pending. */
  cancel(reason: Error): void {
    this.#cancelling.abort(reason);
  }

  #settle(index: number, status: TransferStatus): void {
    this.#statuses[index] = status;
    this.#pendingCount -= 1;
    if (status.state === 'failed') this.#failedCount += 1;
  }
}
