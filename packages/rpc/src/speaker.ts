import type { Answer, PeerReleases, RequestLayout } from './peer-releases.ts';

/** Which release the peer of one connection speaks, as far as its requests have shown. */
export class Speaker {
  readonly #releases: PeerReleases<any>;
  readonly #address: string;
  #shown: number;
  #caller: string | null = null;
  /** The release whose layouts answers get, decided when the knowledge was at `#epoch`. */
  #chosen = 0;
  /** Those it may be for all we know. */
  #possible: number;
  #epoch = -1;

  constructor(releases: PeerReleases<any>, address: string) {
    this.#releases = releases;
    this.#address = address;
    this.#shown = releases.all;
    this.#possible = releases.all;
  }

  /** The release by name, or the oldest and the newest it may be; null when nothing was shown. */
  get release(): string | null {
    this.#choose();
    const { releases, all } = this.#releases;
    const left = releases.filter((_, at) => ((this.#possible >> at) & 1) === 1);
    if (this.#possible === all && left.length > 1) return null;
    return left.length === 1 ? (left[0] as string) : `${left[0]}-${left.at(-1)}`;
  }

  /** Takes in a request, and says how to write its answer. */
  hear(layout: RequestLayout, args: readonly unknown[]): Answer {
    const shown = this.#shown & layout.releases;
    if (shown !== this.#shown) this.#show(shown === 0 ? layout.releases : shown);
    if (this.#caller === null && layout.method.callerAt >= 0) {
      this.#meet(args[layout.method.callerAt] as string);
    }
    if (this.#epoch !== this.#releases.epoch) this.#choose();
    const alike = layout.alike[this.#chosen] as number;
    if ((this.#possible & ~alike) !== 0) this.#releases.guessed(this.#chosen);
    return layout.answers[this.#chosen] as Answer;
  }

  leave(): void {
    if (this.#shown !== this.#releases.all) {
      this.#releases.connectionShows(this.#address, this.#shown, this.#releases.all);
    }
  }

  #show(shown: number): void {
    this.#releases.connectionShows(this.#address, this.#shown, shown);
    this.#shown = shown;
    if (this.#caller !== null) this.#releases.callerShows(this.#caller, shown);
  }

  #meet(caller: string): void {
    this.#caller = caller;
    if (this.#shown === this.#releases.all) this.#epoch = -1;
    else this.#releases.callerShows(caller, this.#shown);
  }

  #choose(): void {
    const ofCaller = this.#caller === null ? 0 : this.#releases.ofCaller(this.#caller);
    this.#possible = this.#shown & ofCaller || this.#shown;
    const likely = this.#possible & this.#releases.atAddress(this.#address);
    this.#chosen = this.#releases.pick(likely || this.#possible);
    this.#epoch = this.#releases.epoch;
  }
}
