import type { IncomingMessage } from 'node:http';
import { Fault } from './fault.ts';

/** The request's body as JSON. Faults: TOO_LARGE, INVALID_ARGUMENT, CANCELLED when the client leaves. */
export async function readJsonBody(
  request: IncomingMessage,
  byteCountMax: number,
): Promise<unknown> {
  const bytes = await readBody(request, byteCountMax);
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new Fault('INVALID_ARGUMENT', `the body is not JSON: ${(error as Error).message}`, {
      details: { code: 'invalid_json' },
    });
  }
}

/** The request's whole body. Faults: TOO_LARGE, CANCELLED when the client leaves. */
export function readBody(request: IncomingMessage, byteCountMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let byteCount = 0;
    const tooLarge = () => {
      // The rest flows away unread by us: the answer must not wait for it.
      request.removeAllListeners('data');
      request.resume();
      reject(new Fault('TOO_LARGE', `the body exceeds the limit of ${byteCountMax} bytes`));
    };
    if (Number(request.headers['content-length'] ?? 0) > byteCountMax) {
      tooLarge();
      return;
    }
    request.on('data', (part: Buffer) => {
      byteCount += part.length;
      if (byteCount > byteCountMax) tooLarge();
      else parts.push(part);
    });
    request.once('end', () => resolve(Buffer.concat(parts)));
    const gone = () =>
      reject(new Fault('CANCELLED', 'the client left before its request was read'));
    request.once('error', gone);
    request.once('close', gone);
  });
}
