import { type Clock, Ending, type Scheduled, type Service } from '@tsukimi/base';
import type { RequestRecord } from './request-record.ts';

export interface AccessLogOptions {
  readonly clock: Clock;
  /** Takes whole lines, many at a time. */
  readonly write: (text: string) => void;
}

const flushAfterMs = 200;
/** Below what a pipe takes in one piece (4,096 bytes), so that lines of several workers stay whole. */
const waitingCharCountMax = 3_000;

/** One line of JSON for each request, written some at a time; all are written when it has stopped. */
export class AccessLog implements Service {
  readonly name = 'access log';
  readonly #options: AccessLogOptions;
  readonly #ending = new Ending();
  #waiting = '';
  #flush: Scheduled | null = null;

  constructor(options: AccessLogOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {}

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#write();
    this.#ending.stopped();
  }

  add(record: RequestRecord, status: number, nowMs: number): void {
    const { clock } = this.#options;
    const line = `${lineOf(record, status, nowMs, clock.wallMs())}\n`;
    if (this.#waiting.length + line.length > waitingCharCountMax) this.#write();
    this.#waiting += line;
    this.#flush ??= clock.schedule(flushAfterMs, () => this.#write());
  }

  #write(): void {
    this.#flush?.cancel();
    this.#flush = null;
    if (this.#waiting === '') return;
    const text = this.#waiting;
    this.#waiting = '';
    this.#options.write(text);
  }
}

/** Times in milliseconds. Never a prompt, an answer or a key. */
function lineOf(record: RequestRecord, status: number, nowMs: number, wallMs: number): string {
  const { firstByteMs, startMs } = record;
  return JSON.stringify({
    time: new Date(wallMs).toISOString(),
    request_id: record.requestId,
    endpoint: record.endpoint,
    status,
    client: record.client === '' ? null : record.client,
    stream: record.streams,
    total_ms: rounded(nowMs - startMs),
    first_byte_ms: rounded(firstByteMs === null ? null : firstByteMs - startMs),
    queue_ms: rounded(record.queueMs),
    prefill_ms: rounded(record.prefillMs),
    handover_ms: rounded(record.handoverMs),
    decode_first_byte_ms: rounded(record.decodeFirstByteMs),
    overhead_ms: rounded(firstByteMs === null ? null : record.overheadMs(firstByteMs)),
    prefill: record.prefill === '' ? null : record.prefill,
    decode: record.decode === '' ? null : record.decode,
    attempts: record.attemptCount,
    prefill_skipped: record.skipReason,
    prompt_tokens: record.promptTokenCount,
    cached_tokens: record.cachedTokenCount,
    output_tokens: record.outputTokenCount,
    bytes_in: record.receivedByteCount,
    bytes_out: record.sentByteCount,
  });
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 1_000) / 1_000;
}
