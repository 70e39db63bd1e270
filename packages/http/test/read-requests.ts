import { Fault } from '@tsukimi/base';
import { ChunkedBody } from '../src/core/chunked-body.ts';
import { HeadReader } from '../src/core/head-reader.ts';
import { parseRequestHead } from '../src/core/request-head.ts';

export interface ReadRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface Reading {
  readonly requests: readonly ReadRequest[];
  /** Why no more were read; null when the bytes just ended. */
  readonly refusal: { readonly status: number; readonly message: string } | null;
}

/** All requests in `text` (Latin-1) until one says that it is the last, handed to the parsers in pieces that end at `cuts`. */
export function readRequests(text: string, cuts: readonly number[] = []): Reading {
  const requests: ReadRequest[] = [];
  const reader = new HeadReader({ byteCountMax: 16_384, fieldCountMax: 128 });
  let head: ReturnType<typeof parseRequestHead> | null = null;
  let chunked = new ChunkedBody();
  let left = 0;
  let body = '';
  let over = false;
  const finish = () => {
    if (head === null) return;
    requests.push({ method: head.method, url: head.target, headers: head.headers, body });
    over = !head.keepsAlive;
    head = null;
  };
  const take = (bytes: Buffer) => {
    let at = 0;
    while (at < bytes.length && !over) {
      if (head === null) {
        const end = reader.read(bytes, at);
        if (end < 0) return;
        at = end;
        head = parseRequestHead(reader.take());
        chunked = new ChunkedBody();
        body = '';
        left = head.bodyByteCount ?? 0;
        if (head.bodyByteCount === 0) finish();
      } else if (head.bodyByteCount === null) {
        at = chunked.read(bytes, at);
        body += chunked.data(bytes)?.toString('latin1') ?? '';
        if (chunked.ended) finish();
      } else {
        const end = Math.min(bytes.length, at + left);
        body += bytes.toString('latin1', at, end);
        left -= end - at;
        at = end;
        if (left === 0) finish();
      }
    }
  };
  const edges = [0, ...cuts, text.length];
  try {
    for (let at = 1; at < edges.length; at += 1) {
      take(Buffer.from(text.slice(edges[at - 1], edges[at]), 'latin1'));
    }
  } catch (error) {
    if (!Fault.has(error, 'MALFORMED')) throw error;
    return {
      requests,
      refusal: { status: Number(error.details['status']), message: error.message },
    };
  }
  return { requests, refusal: null };
}
