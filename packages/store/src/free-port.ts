import { type AddressInfo, createServer } from 'node:net';
import { Fault, listenFault } from '@tsukimi/base';

/** A port that nobody has now, by which the processes of one host tell themselves apart. */
export function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (error) => {
      const fault = listenFault(error, 'transfer', host, 0);
      reject(
        new Fault(
          'MISCONFIGURED',
          `mooncake.json: local_hostname: ${fault.message}; or give --host 0.0.0.0`,
          { cause: error },
        ),
      );
    });
    probe.listen({ host, port: 0 }, () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
