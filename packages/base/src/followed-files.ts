import { readFile } from 'node:fs/promises';
import { type Clock, every } from './clock.ts';
import { Fault } from './fault.ts';
import { Ending, type Service } from './service.ts';

export interface FollowedFilesOptions {
  readonly name: string;
  /** Read together: a certificate goes with its key. */
  readonly paths: readonly string[];
  readonly clock: Clock;
  readonly periodMs?: number;
  readonly byteCountMax?: number;
  /** Gets the texts in the order of `paths`, at the start and whenever one is another; may throw a `Fault`. */
  readonly onTexts: (texts: readonly string[]) => void;
  /** Files that changed and cannot be used; what was read before stays in force. Told once for each state. */
  readonly onFlaw: (message: string) => void;
}

/**
 * Files that may change while the process runs. They are read again and again, not watched: a file that
 * is replaced, a link that points elsewhere and a mounted volume look the same then. The start fails
 * with `MISCONFIGURED` when they cannot be used.
 */
export class FollowedFiles implements Service {
  readonly name: string;
  readonly #options: FollowedFilesOptions;
  readonly #ending = new Ending();
  #texts: readonly string[] = [];
  /** Why the files cannot be used now. */
  #flaw: string | null = null;
  /** Why what they hold cannot be used, however often it is read. */
  #textsFlaw: string | null = null;
  #stopped = false;
  #cancel: () => void = () => {};

  constructor(options: FollowedFilesOptions) {
    this.name = options.name;
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.look();
    if (this.#flaw !== null) throw new Fault('MISCONFIGURED', this.#flaw);
    const { clock, periodMs = 1_000 } = this.#options;
    const scheduled = every(clock, periodMs, () => this.look());
    this.#cancel = () => scheduled.cancel();
  }

  ended(): Promise<void> {
    return this.#ending.promise;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    this.#ending.stopped();
  }

  /** One look, as the clock makes them. */
  async look(): Promise<void> {
    let texts: readonly string[];
    try {
      texts = await Promise.all(this.#options.paths.map((path) => this.#read(path)));
    } catch (error) {
      this.#tell((error as Error).message);
      return;
    }
    if (this.#stopped) return;
    if (texts.some((text, at) => text !== this.#texts[at])) {
      this.#texts = texts;
      try {
        this.#options.onTexts(texts);
        this.#textsFlaw = null;
      } catch (error) {
        this.#textsFlaw = (error as Error).message;
      }
    }
    this.#tell(this.#textsFlaw);
  }

  async #read(path: string): Promise<string> {
    const { byteCountMax = 4 * 2 ** 20 } = this.#options;
    const bytes = await readFile(path);
    if (bytes.length <= byteCountMax) return bytes.toString('utf8');
    throw new Fault('TOO_LARGE', `${path}: more than ${byteCountMax} bytes`);
  }

  #tell(flaw: string | null): void {
    if (flaw !== null && flaw !== this.#flaw) this.#options.onFlaw(flaw);
    this.#flaw = flaw;
  }
}
