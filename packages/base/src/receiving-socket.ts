import { Socket } from 'node:net';

/** Where received bytes go: `next` is asked for memory before each read, `received` told what came. */
export interface Receiver {
  next(): Buffer;
  received(byteCount: number, memory: Buffer): void;
}

/** `onread` of Node's sockets, which spares an allocation and a copy for each read. */
export function onreadOf(receiver: Receiver) {
  return {
    buffer: () => receiver.next(),
    callback: (byteCount: number, memory: Uint8Array) => {
      receiver.received(byteCount, memory as Buffer);
      return true;
    },
  };
}

/**
 * Gives the connection of an accepted, paused socket to a new one that receives into `receiver`'s memory:
 * `net.Server` has no way to pass `onread` on. Without a handle to give, the socket itself is used.
 */
export function receiveInto(accepted: Socket, receiver: Receiver): Socket {
  const owner = accepted as unknown as { _handle?: object | null };
  const handle = owner._handle ?? null;
  if (handle === null) {
    accepted.on('data', (chunk: Buffer) => receiver.received(chunk.length, chunk));
    return accepted.resume();
  }
  owner._handle = null;
  const socket = new Socket({ handle, onread: onreadOf(receiver) } as object);
  // The server counts and, at its end, closes the socket that it made.
  socket.once('close', () => accepted.destroy());
  accepted.once('close', () => socket.destroy());
  return socket;
}
