import type { Clock } from '@tsukimi/base';
import type { EtcdAddress } from './metadata-address.ts';

/** One text that several masters share. Calls that get no answer in time reject with `PEER_UNREACHABLE`. */
export interface SharedText {
  /** Null while nobody wrote it. */
  read(): Promise<string | null>;
  write(text: string): Promise<void>;
  close(): void;
}

export interface SharedTextOptions {
  readonly address: EtcdAddress;
  readonly key: string;
  readonly clock: Clock;
}
