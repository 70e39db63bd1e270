import type { Peer } from '@tsukimi/rpc';
import type { Uuid } from '@tsukimi/wire';

/** Calls over one connection in the names of more clients than this are not followed. */
const clientCountMax = 64;

export interface PresencePorts {
  /** The first connection of a client. */
  readonly onConnected: (client: Uuid) => void;
  /** The last one is gone. */
  readonly onDisconnected: (client: Uuid) => void;
}

/** Which clients are behind which connections, as far as their calls have shown. */
export class ClientPresence {
  readonly #ports: PresencePorts;
  readonly #clientsByPeer = new Map<Peer, Uuid[]>();
  readonly #connectionCounts = new Map<Uuid, number>();

  constructor(ports: PresencePorts) {
    this.#ports = ports;
  }

  /** A call named its client. Called for every such call, nearly always with what is known. */
  shown(peer: Peer, client: Uuid): void {
    const clients = this.#clientsByPeer.get(peer);
    if (clients === undefined) this.#clientsByPeer.set(peer, [client]);
    else if (clients[0] === client || clients.includes(client)) return;
    else if (clients.length < clientCountMax) clients.push(client);
    else return;
    const count = this.#connectionCounts.get(client) ?? 0;
    this.#connectionCounts.set(client, count + 1);
    if (count === 0) this.#ports.onConnected(client);
  }

  closed(peer: Peer): void {
    for (const client of this.#clientsByPeer.get(peer) ?? []) {
      const count = (this.#connectionCounts.get(client) as number) - 1;
      if (count > 0) this.#connectionCounts.set(client, count);
      else {
        this.#connectionCounts.delete(client);
        this.#ports.onDisconnected(client);
      }
    }
    this.#clientsByPeer.delete(peer);
  }
}
