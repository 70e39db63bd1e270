import type { Clock } from './clock.ts';

export type LogValue = string | number | bigint | boolean | null | undefined;
type Fields = Readonly<Record<string, LogValue>>;

/** Structured lines with a stable event name first. Prompts and keys are never logged. */
export interface Logger {
  info(event: string, fields?: Fields): void;
  warn(event: string, fields?: Fields): void;
  error(event: string, fields?: Fields): void;
}

/** One line an event: `2026-01-02T03:04:05.678Z warn master.evicted keys=3 reason="…"`. */
export class LineLogger implements Logger {
  readonly #clock: Clock;
  readonly #write: (line: string) => void;

  constructor(clock: Clock, write: (line: string) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  info(event: string, fields: Fields = {}): void {
    this.#line('info', event, fields);
  }

  warn(event: string, fields: Fields = {}): void {
    this.#line('warn', event, fields);
  }

  error(event: string, fields: Fields = {}): void {
    this.#line('error', event, fields);
  }

  #line(level: string, event: string, fields: Fields): void {
    const shown = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => ` ${name}=${quoted(value)}`);
    this.#write(
      `${new Date(this.#clock.wallMs()).toISOString()} ${level} ${event}${shown.join('')}\n`,
    );
  }
}

function quoted(value: LogValue): string {
  const text = String(value);
  return /^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text);
}

export const silentLogger: Logger = { info() {}, warn() {}, error() {} };
