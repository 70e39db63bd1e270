import { createServer } from 'node:net';
import { Fault, formatAddress } from '@tsukimi/base';
import type { ChildPlan } from './cluster-plan.ts';

/** Rejects with `MISCONFIGURED`, naming the option that moves it, when a port is taken or wanted twice. */
export async function checkPortsAreFree(children: readonly ChildPlan[]): Promise<void> {
  const owners = new Map<number, string>();
  for (const { name, address, ports } of children) {
    for (const { port, option } of ports) {
      const other = owners.get(port);
      if (other !== undefined) {
        throw new Fault(
          'MISCONFIGURED',
          `${name} and ${other} would both take port ${port}; move one with ${option}`,
        );
      }
      owners.set(port, name);
      await new Promise<void>((resolve, reject) => {
        const probe = createServer();
        probe.once('error', (error: NodeJS.ErrnoException) => {
          const reason =
            error.code === 'EADDRINUSE' ? 'is already in use' : `cannot be used (${error.code})`;
          const where = formatAddress({ host: address.host, port });
          reject(
            new Fault(
              'MISCONFIGURED',
              `${name}: ${where} ${reason}; choose another port with ${option}`,
            ),
          );
        });
        probe.listen({ host: address.host, port }, () => probe.close(() => resolve()));
      });
    }
  }
}
