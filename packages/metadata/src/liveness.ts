import { connect } from 'node:net';
import type { Address, Clock } from '@tsukimi/base';

/** Whether something accepts TCP connections at `address` within `limitMs`. Never rejects. */
export function acceptsConnections(
  address: Address,
  clock: Clock,
  limitMs: number,
): Promise<boolean> {
  if (address.port === 0) return Promise.resolve(false);
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port });
    const settle = (alive: boolean) => {
      limit.cancel();
      socket.destroy();
      resolve(alive);
    };
    const limit = clock.schedule(limitMs, () => settle(false));
    socket.once('connect', () => settle(true));
    // Stays attached: an error after the verdict has nobody else to go to.
    socket.on('error', () => settle(false));
  });
}
