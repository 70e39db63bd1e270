import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type Clock, deadline, orAborted } from '@tsukimi/base';
import type { Answer } from './rest-answers.ts';

const pieceByteCount = 2 ** 20;
/** A client that takes none of its answer for so long is cut off. */
const unreadMs = 30_000;

/** Resolves once the answer has left, or its client has; its bytes are held until then. */
export async function sendAnswer(
  response: ServerResponse,
  { status, type, body }: Answer,
  hasBody: boolean,
  clock: Clock,
): Promise<void> {
  if (response.destroyed) return;
  const left = new AbortController();
  response.once('close', () => left.abort());
  const within = async (step: (signal: AbortSignal) => Promise<unknown>) => {
    using limit = deadline(clock, unreadMs, 'a client that reads nothing', left.signal);
    await orAborted(step(limit.signal), limit.signal);
  };
  try {
    response.writeHead(status, { 'content-type': type, 'content-length': body.length });
    let at = 0;
    for (; hasBody && body.length - at > pieceByteCount; at += pieceByteCount) {
      if (response.write(body.subarray(at, at + pieceByteCount))) continue;
      await within((signal) => once(response, 'drain', { signal }));
    }
    const rest = hasBody ? body.subarray(at) : Buffer.alloc(0);
    await within(() => new Promise<void>((resolve) => response.end(rest, resolve)));
  } catch {
    response.destroy();
  }
}
