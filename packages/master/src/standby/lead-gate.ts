import type { AnswerGate } from '@tsukimi/rpc';
import type { Lead } from './lead.ts';

/** Lets answers leave only while this master leads for certain: what it has no journal for, nobody can check. */
export class LeadGate implements AnswerGate {
  readonly #lead: Lead;

  constructor(lead: Lead) {
    this.#lead = lead;
  }

  /** What is held back stays: the connections end with the lead. */
  holdBack(): boolean {
    return !this.#lead.isCertain;
  }
}
