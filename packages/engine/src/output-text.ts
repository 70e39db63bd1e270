import { StringDecoder } from 'node:string_decoder';

export interface TextPiece {
  readonly text: string;
  /** The stop string that was met; the text ends before it. */
  readonly stop: string | null;
}

/**
 * From the bytes of tokens to text that may be shown: a character is held back until it is complete, and
 * what may be the beginning of a stop string until it is known not to be one.
 */
export class OutputText {
  readonly #stops: readonly string[];
  readonly #decoder = new StringDecoder('utf8');
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops.filter((stop) => stop !== '');
  }

  /** `checksStops` false lets everything through, also stop strings. */
  push(bytes: Buffer, checksStops = true): TextPiece {
    const pending = this.#held + this.#decoder.write(bytes);
    if (!checksStops || this.#stops.length === 0) {
      this.#held = '';
      return { text: pending, stop: null };
    }
    const found = this.#firstStop(pending);
    if (found !== null) {
      this.#held = '';
      return { text: pending.slice(0, found.at), stop: found.stop };
    }
    const shown = pending.length - this.#heldLength(pending);
    this.#held = pending.slice(shown);
    return { text: pending.slice(0, shown), stop: null };
  }

  /** What was held back, once nothing follows. An incomplete character is dropped. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  #firstStop(text: string): { at: number; stop: string } | null {
    let first: { at: number; stop: string } | null = null;
    for (const stop of this.#stops) {
      const at = text.indexOf(stop);
      if (at >= 0 && (first === null || at < first.at)) first = { at, stop };
    }
    return first;
  }

  /** Length of the longest end of the text that a stop string begins with. */
  #heldLength(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
