import { type Clock, Fault, type Logger, type Random } from '@tsukimi/base';
import type { MasterAddress } from './master-address.ts';
import { MasterCalls } from './master-calls.ts';
import { MasterFinder } from './master-finder.ts';

export interface KeyLookupOptions {
  readonly master: MasterAddress;
  readonly tenantId: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly connectTimeoutMs: number;
}

/**
 * Asks a master which keys exist, for those who are no member of the store: nothing is mounted, and
 * nobody pings. Calls reject with a `Fault` when no master answers, or with the reason of their signal.
 */
export class KeyLookup {
  readonly #options: KeyLookupOptions;
  readonly #finder: MasterFinder;
  #calls: MasterCalls | null = null;

  constructor(options: KeyLookupOptions) {
    this.#options = options;
    this.#finder = new MasterFinder(options.master, options);
  }

  /** For each key whether it can be read. Those that can are leased, as for any client. */
  async exist(keys: readonly string[], signal: AbortSignal): Promise<readonly boolean[]> {
    const answers = await this.#asked(signal, (calls) =>
      calls.call('BatchExistKey', [keys, this.#options.tenantId], { signal, timeoutMs: null }),
    );
    if (answers.length !== keys.length) {
      throw new Fault(
        'MALFORMED',
        `the master answers for ${answers.length} of ${keys.length} keys`,
      );
    }
    return answers.map((answer) => 'ok' in answer && answer.ok);
  }

  /** All keys in which an ECMAScript pattern occurs. The master goes through everything that it has. */
  async match(pattern: string, signal: AbortSignal): Promise<readonly string[]> {
    const found = await this.#asked(signal, (calls) =>
      calls.call('GetReplicaListByRegex', [pattern, this.#options.tenantId], {
        signal,
        timeoutMs: null,
      }),
    );
    return 'ok' in found ? found.ok.map(([key]) => key) : [];
  }

  close(): void {
    this.#calls?.close();
    this.#finder.close();
  }

  async #asked<T>(signal: AbortSignal, ask: (calls: MasterCalls) => Promise<T>): Promise<T> {
    if (this.#calls === null) {
      const address = await this.#finder.find(signal);
      const { clock, logger, connectTimeoutMs } = this.#options;
      this.#calls ??= new MasterCalls({ address, clock, logger, connectTimeoutMs });
    }
    const calls = this.#calls;
    try {
      return await ask(calls);
    } catch (error) {
      // Another one may lead by now.
      if (Fault.has(error, 'PEER_UNREACHABLE') && this.#calls === calls) {
        this.#calls = null;
        calls.close();
      }
      throw error;
    }
  }
}
