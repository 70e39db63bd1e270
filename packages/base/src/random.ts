import { randomFillSync } from 'node:crypto';

/** The only source of chance in production code. */
export interface Random {
  /** Uniform in [0, 2^32). */
  uint32(): number;
}

export class SystemRandom implements Random {
  readonly #word = new Uint32Array(1);

  uint32(): number {
    randomFillSync(this.#word);
    return this.#word[0] ?? 0;
  }
}

/** The same numbers for the same seed (splitmix32, Steele et al. 2014, in its 32-bit form). */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  uint32(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  }
}

/** Uniform in [0, count). */
export function below(random: Random, count: number): number {
  return Math.floor((random.uint32() / 2 ** 32) * count);
}
