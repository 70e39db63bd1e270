import { Fault } from './fault.ts';

/** Where a peer listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Reads `host:port` and `[v6]:port`. `what` names the option or field in the error. */
export function parseAddress(text: string, what: string): Address {
  const match = /^(?:\[([^\]]+)\]|([^:/\s]+)):(\d{1,5})$/.exec(text.trim());
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port < 1 || port > 65_535) {
    throw new Fault('INVALID_ARGUMENT', `${what}: "${text}" is not host:port`);
  }
  return { host, port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
