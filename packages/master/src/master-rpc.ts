import type { Service } from '@tsukimi/base';
import { PeerReleases, RpcServer, type RpcServerOptions } from '@tsukimi/rpc';
import {
  type MasterProtocol,
  type MasterRelease,
  masterReleases,
  protocolOf,
  unsupportedCalls,
} from '@tsukimi/wire';
import type { MasterOptions } from './options.ts';

type ServerOptions = Omit<
  RpcServerOptions<MasterProtocol>,
  'name' | 'host' | 'port' | 'protocol' | 'refusals'
>;

/**
 * The RPC ports of a master: one that tells by what a client sends which release it speaks, and any number
 * that are fixed to a release, for clients that only ask what several releases ask alike.
 */
export class MasterRpc {
  readonly main: RpcServer<MasterProtocol>;
  readonly byRelease: ReadonlyMap<MasterRelease, RpcServer<MasterProtocol>>;
  readonly #peers: PeerReleases<MasterProtocol>;

  constructor(
    { host, port, defaultClientRelease, rpcPortFor }: MasterOptions,
    options: ServerOptions,
  ) {
    this.#peers = new PeerReleases<MasterProtocol>(
      masterReleases.map((release) => ({ release, protocol: protocolOf(release) })),
      defaultClientRelease,
    );
    const common = { ...options, host, refusals: unsupportedCalls };
    this.main = new RpcServer({ ...common, name: 'master', port, protocol: this.#peers });
    this.byRelease = new Map(
      rpcPortFor.map(({ release, port: own }) => {
        const name = `master for clients of ${release} (--rpc_port_for)`;
        const protocol = protocolOf(release);
        return [release, new RpcServer({ ...common, name, port: own, protocol })];
      }),
    );
  }

  get services(): readonly Service[] {
    return [this.main, ...this.byRelease.values()];
  }

  /** Connections by the release they speak; null for those that have not shown theirs. */
  get connectionCounts(): ReadonlyMap<string | null, number> {
    const counts = new Map(this.main.connectionCountByRelease);
    for (const [release, { connectionCount }] of this.byRelease) {
      counts.set(release, (counts.get(release) ?? 0) + connectionCount);
    }
    return counts;
  }

  /** Answers given in the layout of a release that was guessed. */
  get guesses(): readonly (readonly [release: string, count: number])[] {
    return this.#peers.guesses;
  }
}
