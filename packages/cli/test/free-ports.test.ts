import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { ChildPlan } from '../src/up/cluster-plan.ts';
import { checkPortsAreFree } from '../src/up/free-ports.ts';

const host = '127.0.0.1';
const child = (name: string, port: number, option: string): ChildPlan => ({
  name,
  args: [],
  address: { host, port },
  readyUrl: '',
  ports: [{ port, option }],
});

describe('checkPortsAreFree', () => {
  it('names the process, the port and the option when a port is taken', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ host, port: 0 }, () => resolve()));
    const { port } = server.address() as AddressInfo;
    const children = [child('proxy', port, '--port')];
    await expect(checkPortsAreFree(children)).rejects.toThrow(
      `proxy: ${host}:${port} is already in use; choose another port with --port`,
    );
    await new Promise((resolve) => server.close(resolve));
    await checkPortsAreFree(children);
    await expect(
      checkPortsAreFree([...children, child('master', port, '--master-port')]),
    ).rejects.toThrow(`master and proxy would both take port ${port}`);
  });
});
