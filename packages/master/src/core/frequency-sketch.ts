const width = 4_096;
const depth = 4;
const countMax = 255;

/**
 * Roughly how often each of very many texts came up lately: a count-min sketch (Cormode and
 * Muthukrishnan, 2005) of 16 KiB, whose counts are halved once so many came up as it has cells.
 */
export class FrequencySketch {
  readonly #counts = new Uint8Array(width * depth);
  #total = 0;

  /** Counts a text; gives how often it came up, at most 255, sometimes too much and never too little. */
  increment(text: string): number {
    let lowest = countMax;
    for (let row = 0; row < depth; row += 1) {
      const cell = row * width + (hashOf(text, row) % width);
      const count = Math.min(countMax, (this.#counts[cell] as number) + 1);
      this.#counts[cell] = count;
      lowest = Math.min(lowest, count);
    }
    this.#total += 1;
    if (this.#total >= width * depth) this.#halve();
    return lowest;
  }

  #halve(): void {
    for (let cell = 0; cell < this.#counts.length; cell += 1) {
      this.#counts[cell] = (this.#counts[cell] as number) >> 1;
    }
    this.#total = 0;
  }
}

/** FNV-1a over the text's code units, begun differently in each row. */
function hashOf(text: string, row: number): number {
  let hash = 0x811c9dc5 ^ Math.imul(row + 1, 0x9e3779b1);
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) >>> 0;
}
