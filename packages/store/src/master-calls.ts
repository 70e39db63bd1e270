import { Fault, type Logger } from '@tsukimi/base';
import { type RpcCallOptions, RpcClient, type RpcClientOptions } from '@tsukimi/rpc';
import {
  type ArgsOf,
  type MasterProtocol,
  type MasterRelease,
  protocolOf,
  type ResultOf,
  RpcError,
  releaseOf,
  releaseProbeKey,
  releaseProbes,
} from '@tsukimi/wire';

type ReleaseProbes = typeof releaseProbes;

export interface MasterCallsOptions
  extends Omit<RpcClientOptions<MasterProtocol & ReleaseProbes>, 'protocol'> {
  readonly logger: Logger;
}

/** Calls to one master in the layouts of its release. */
export class MasterCalls {
  readonly #client: RpcClient<MasterProtocol & ReleaseProbes>;
  readonly #logger: Logger;
  #release: MasterRelease = '0.3.13';

  constructor({ logger, ...options }: MasterCallsOptions) {
    this.#logger = logger;
    this.#client = new RpcClient({ ...options, protocol: callsOf(this.#release) });
  }

  close(): void {
    this.#client.close();
  }

  /** A call, made once more where a master of another release has taken the place of the one that was asked. */
  async call<K extends keyof MasterProtocol>(
    name: K,
    args: ArgsOf<MasterProtocol[K]>,
    options: RpcCallOptions,
  ): Promise<ResultOf<MasterProtocol[K]>> {
    try {
      return await this.#once(name, args, options);
    } catch (error) {
      if (!isOfAnotherRelease(error) || !(await this.learnRelease(options))) throw error;
      return await this.#once(name, args, options);
    }
  }

  /** Asks the master which release it is and speaks that from then on; whether it is another than before. */
  async learnRelease(limit: RpcCallOptions): Promise<boolean> {
    const names = Object.keys(releaseProbes) as (keyof ReleaseProbes)[];
    const outcomes = await Promise.all(
      names.map(async (name) => [name, await this.#probe(name, limit)] as const),
    );
    const release = releaseOf(Object.fromEntries(outcomes) as Parameters<typeof releaseOf>[0]);
    if (release === this.#release) return false;
    this.#logger.info('store.master_release', { release });
    this.#release = release;
    this.#client.speak(callsOf(release));
    return true;
  }

  // The table holds the probes too, which hides from TypeScript that a call's name leads to its arguments.
  #once<K extends keyof MasterProtocol>(
    name: K,
    args: ArgsOf<MasterProtocol[K]>,
    options: RpcCallOptions,
  ): Promise<ResultOf<MasterProtocol[K]>> {
    return (this.#client as unknown as RpcClient<MasterProtocol>).call(name, args, options);
  }

  /** The RPC error that a probe came to, null for none. */
  async #probe(name: keyof ReleaseProbes, limit: RpcCallOptions): Promise<number | null> {
    try {
      await this.#client.call(name, (name === '0.3.12' ? releaseProbeKey : []) as never, limit);
      return null;
    } catch (error) {
      const code = rpcErrorOf(error);
      if (code === null) throw error;
      return code;
    }
  }
}

function callsOf(release: MasterRelease): Partial<MasterProtocol & ReleaseProbes> {
  return { ...protocolOf(release), ...releaseProbes };
}

function rpcErrorOf(error: unknown): number | null {
  if (!Fault.has(error, 'REFUSED')) return null;
  return (error.details['code'] as number | undefined) ?? null;
}

/** The master does not know the call, or lays it out in another way; nothing was done. */
function isOfAnotherRelease(error: unknown): boolean {
  const code = rpcErrorOf(error);
  return code === RpcError.INVALID_ARGUMENTS || code === RpcError.NOT_REGISTERED;
}
