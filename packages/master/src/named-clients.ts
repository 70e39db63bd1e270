import type { Handlers, Peer } from '@tsukimi/rpc';
import { type MasterProtocol, masterProtocol, type Uuid } from '@tsukimi/wire';

type Handler = (args: readonly unknown[], peer: Peer) => unknown;

/** Handlers that first tell which client called, for all calls that name it. */
export function tellingClients(
  handlers: Handlers<MasterProtocol>,
  shown: (peer: Peer, client: Uuid) => void,
): Handlers<MasterProtocol> {
  const telling: Record<string, unknown> = { ...handlers };
  for (const [name, { callerAt }] of Object.entries(masterProtocol)) {
    if (callerAt < 0) continue;
    const handler = telling[name] as Handler;
    telling[name] = (args: readonly unknown[], peer: Peer) => {
      shown(peer, args[callerAt] as Uuid);
      return handler(args, peer);
    };
  }
  return telling as unknown as Handlers<MasterProtocol>;
}
