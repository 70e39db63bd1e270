import { SystemClock } from '@tsukimi/base';
import { DataServer } from '../src/data-server.ts';
import { LocalTransport } from '../src/local-transport.ts';
import { allocateMemory } from '../src/memory.ts';
import { MemoryRegistry } from '../src/memory-registry.ts';
import { hostId } from '../src/segment-file.ts';
import { SharedMemoryTransport } from '../src/shared-memory-transport.ts';
import { TcpTransport } from '../src/tcp-transport.ts';
import { contractByteCount, describeTransportContract } from '../src/testing.ts';
import { peerOf } from './fixtures.ts';

const clock = new SystemClock();
const allocate = (shared: boolean) =>
  allocateMemory({ byteCount: contractByteCount, shared, label: 'test segment' });

describeTransportContract('local', async () => {
  const memory = allocate(false);
  const registry = new MemoryRegistry();
  registry.register(memory);
  return {
    transport: new LocalTransport(() => 'peer:1', registry),
    memory,
    peer: peerOf(memory),
    endPeer: null,
    close: async () => {},
  };
});

describeTransportContract('shared-memory', async () => {
  const memory = allocate(true);
  const transport = new SharedMemoryTransport(hostId());
  return {
    transport,
    memory,
    peer: peerOf(memory),
    endPeer: async () => memory.close(),
    close: async () => {
      transport.close();
      memory.close();
    },
  };
});

for (const [version, requestsAhead, refusalCode] of [
  [1, 1, 'PEER_UNREACHABLE'],
  [2, 1, 'REFUSED'],
  [2, 16, 'REFUSED'],
] as const) {
  describeTransportContract(`TCP version ${version}, ${requestsAhead} ahead`, async () => {
    const memory = allocate(false);
    const registry = new MemoryRegistry();
    registry.register(memory);
    const server = new DataServer({
      host: '127.0.0.1',
      port: 0,
      clock,
      resolve: (address, byteCount) => registry.resolve(address, byteCount),
      onDeath: () => {},
    });
    await server.start();
    const transport = new TcpTransport({ clock });
    const stop = () => server.stop(AbortSignal.abort());
    return {
      transport,
      memory,
      peer: peerOf(memory, { port: server.port, version, requestsAhead }),
      refusalCode,
      endPeer: stop,
      close: async () => {
        transport.close();
        await stop();
      },
    };
  });
}
