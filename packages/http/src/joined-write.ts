import type { Socket } from 'node:net';

/** Up to here a copy is cheaper than a write of several pieces. */
const copiedByteCountMax = 16_384;

/**
 * Writes the parts with one call to the system. `head`, `tail` and a `body` of text are Latin-1; a `body`
 * of bytes must not change any more. `onSent` is called when the system has taken all of it.
 */
export function writeJoined(
  socket: Socket,
  head: string,
  body: Buffer | string,
  tail: string,
  onSent?: (error?: Error | null) => void,
): boolean {
  if (typeof body === 'string') return socket.write(head + body + tail, 'latin1', onSent);
  if (body.length <= copiedByteCountMax) {
    const bytes = Buffer.allocUnsafe(head.length + body.length + tail.length);
    bytes.write(head, 'latin1');
    body.copy(bytes, head.length);
    if (tail !== '') bytes.write(tail, head.length + body.length, 'latin1');
    return socket.write(bytes, onSent);
  }
  socket.cork();
  if (head !== '') socket.write(head, 'latin1');
  const flows = tail === '' ? socket.write(body, onSent) : socket.write(body);
  const flowsStill = tail === '' ? flows : socket.write(tail, 'latin1', onSent);
  socket.uncork();
  return flowsStill;
}

/** Bytes that the system has not taken yet: shrinks within a single long write too. */
export function unsentByteCount(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { writeQueueSize?: number } | null };
  return socket.writableLength + (handle?.writeQueueSize ?? 0);
}
