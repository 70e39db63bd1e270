import { Fault } from '@tsukimi/base';

/** The frame that ends every stream of OpenAI's API. */
export const sseDone = 'data: [DONE]\n\n';

/** One frame that carries `value` as compact JSON. */
export function encodeSse(value: unknown): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

export interface SseSplitterOptions {
  /** A frame that grows beyond this without ending is a fault. */
  readonly frameByteCountMax?: number;
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

/**
 * Cuts a byte stream into server-sent events, wherever the network has cut it. Frames keep their
 * exact bytes, blank line included, so that a relay can pass them on untouched. Lines end in LF or
 * CRLF; the bare CR that the specification allows too is sent by no server and not taken as an end.
 */
export class SseSplitter {
  readonly #frameByteCountMax: number;
  #held: Buffer = Buffer.alloc(0);
  /** Where the search goes on; what lies before holds no end of a frame. */
  #lineStart = 0;

  constructor(options: SseSplitterOptions = {}) {
    this.#frameByteCountMax = options.frameByteCountMax ?? 2 ** 20;
  }

  /** The frames that `bytes` completes. They are views: valid as long as nobody rewrites `bytes`. */
  push(bytes: Uint8Array): Buffer[] {
    const arrived = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const all = this.#held.length === 0 ? arrived : Buffer.concat([this.#held, arrived]);
    const frames: Buffer[] = [];
    let frameStart = 0;
    let lineStart = this.#lineStart;
    for (;;) {
      const lineEnd = all.indexOf(lineFeed, lineStart);
      if (lineEnd < 0) break;
      const empty =
        lineEnd === lineStart || (lineEnd === lineStart + 1 && all[lineStart] === carriageReturn);
      lineStart = lineEnd + 1;
      if (!empty) continue;
      frames.push(all.subarray(frameStart, lineStart));
      frameStart = lineStart;
    }
    // A copy, since the caller may reuse the memory that the bytes arrived in.
    this.#held = Buffer.from(all.subarray(frameStart));
    this.#lineStart = lineStart - frameStart;
    if (this.#held.length > this.#frameByteCountMax) {
      throw new Fault(
        'MALFORMED',
        `a server-sent event exceeds ${this.#frameByteCountMax} bytes without ending`,
      );
    }
    return frames;
  }

  /** The bytes of a frame that has begun and not ended. Empty after a complete stream. */
  get rest(): Buffer {
    return this.#held;
  }
}

/** The payload of a frame, its `data` lines joined; null when it has none, as a comment. */
export function sseData(frame: Buffer): string | null {
  const lines: string[] = [];
  for (const line of frame.toString('utf8').split('\n')) {
    const match = /^data:? ?(.*?)\r?$/s.exec(line);
    if (match !== null) lines.push(match[1] as string);
  }
  return lines.length === 0 ? null : lines.join('\n');
}
