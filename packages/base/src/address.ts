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
    const reason = `${what}: "${withoutPassword(text)}" is not host:port`;
    throw new Fault('INVALID_ARGUMENT', reason);
  }
  return { host, port };
}

/** A connection string as logs and errors may show it: what stands before an `@` may be a password. */
export function withoutPassword(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, '$1***@');
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
