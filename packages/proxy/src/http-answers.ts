import { Fault } from '@tsukimi/base';
import type { ServerRequest, ServerResponse } from '@tsukimi/http';
import { openAiErrorOf } from '@tsukimi/openai-api';

export type Headers = Readonly<Record<string, string>>;

/** Sends all of an answer. Does nothing when the client is gone or has its answer. */
export function sendBytes(
  response: ServerResponse,
  status: number,
  contentType: string,
  body: string | Buffer,
  headers: Headers = {},
): void {
  if (response.headersSent || response.destroyed) return;
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': length,
    ...headers,
  });
  response.end(body);
}

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Headers = {},
): void {
  sendBytes(response, status, 'application/json', JSON.stringify(body), headers);
}

/** In OpenAI's form. */
export function sendFault(response: ServerResponse, error: unknown, headers: Headers = {}): void {
  const answer = openAiErrorOf(error);
  sendJson(response, answer.status, answer.body, { ...answer.headers, ...headers });
}

export function isJson(request: ServerRequest): boolean {
  const type = request.headers['content-type'] ?? '';
  return /^application\/json\s*(;|$)/i.test(type.trim());
}

/**
 * Calls `onBody` with the whole body, or `onFault` with `TOO_LARGE`. Neither is called when the
 * client leaves before. `take` is told of every piece before it is kept, and may refuse it.
 */
export function readBody(
  request: ServerRequest,
  byteCountMax: number,
  then: {
    onBody(body: Buffer): void;
    onFault(fault: Fault): void;
    take?(byteCount: number): boolean;
  },
): void {
  const pieces: Buffer[] = [];
  let byteCount = 0;
  let refused = false;
  const refuse = (fault: Fault) => {
    refused = true;
    pieces.length = 0;
    then.onFault(fault);
  };
  const tooLarge = () =>
    new Fault('TOO_LARGE', `the request's body exceeds the ${byteCountMax} bytes allowed`);
  if (Number(request.headers['content-length'] ?? 0) > byteCountMax) return refuse(tooLarge());
  request.on('data', (piece: Buffer) => {
    if (refused) return;
    byteCount += piece.length;
    if (byteCount > byteCountMax) return refuse(tooLarge());
    if (then.take?.(piece.length) === false) {
      return refuse(
        new Fault(
          'OVERLOADED',
          'requests in progress, of this client or of all, fill the memory set aside for them',
        ),
      );
    }
    pieces.push(piece);
  });
  request.on('end', () => {
    if (!refused) then.onBody(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces));
  });
}
