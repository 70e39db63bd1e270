import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import type { Memory } from '../src/memory.ts';
import type { Peer } from '../src/peer-directory.ts';
import { hostId } from '../src/segment-file.ts';

/** A peer as its metadata would show it. */
export function peerOf(
  memory: Memory,
  { port = 0, version = 2, endpoint = 'peer:1', requestsAhead = 1 } = {},
): Peer {
  const { baseAddress: address, byteCount, sharedPath: path, sharedInode: inode } = memory;
  return {
    endpoint,
    dataAddress: { host: '127.0.0.1', port },
    descriptor: {
      name: endpoint,
      protocols: ['tcp'],
      tcpDataHost: '127.0.0.1',
      tcpDataPort: port,
      tcpProtoVersion: version,
      timestamp: '',
      buffers: [{ name: endpoint, address, byteCount }],
      ownTarget: requestsAhead === 1 ? null : { requestsAhead, addresses: [] },
      sharedMemory:
        path === null || inode === null
          ? null
          : { host: hostId(), buffers: [{ address, byteCount, path, inode }] },
    },
  };
}

/** A bare TCP server that does what a test needs a strange peer to do. */
export async function listen(onConnection: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
