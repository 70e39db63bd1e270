import { type Address, Fault, formatAddress, parseAddress, withoutPassword } from '@tsukimi/base';
import type { Endpoint } from '../core/pool-instance.ts';

/** Ports of one `@` range. */
const rangeLengthMax = 1_024;

/**
 * Reads where one or several instances listen: `host:port`, `[v6]:port`, `http://host:port`,
 * `https://host`, and `host@8100-8107` or `host@8100` for ports in a row. `what` names the option or
 * field in the fault, which is INVALID_ARGUMENT.
 */
export function parseEndpoints(text: string, what: string): Endpoint[] {
  const given = text.trim();
  if (/^https?:\/\//i.test(given)) return [parseUrl(given, what)];
  const range = /^(\[[^\]]+\]|[^@:/\s]+)@(\d{1,5})(?:-(\d{1,5}))?$/.exec(given);
  if (range === null) return [usable(parseAddress(given, what), given, what)];
  const [, host, from, to = from] = range;
  const first = Number(from);
  const count = Number(to) - first + 1;
  if (count < 1 || count > rangeLengthMax) {
    const reason = `${what}: "${given}" is no range of 1 to ${rangeLengthMax} ports, lowest first`;
    throw new Fault('INVALID_ARGUMENT', reason);
  }
  return Array.from({ length: count }, (_, at) =>
    usable(parseAddress(`${host}:${first + at}`, what), given, what),
  );
}

function parseUrl(text: string, what: string): Endpoint {
  const refuse = (reason: string) =>
    new Fault('INVALID_ARGUMENT', `${what}: "${withoutPassword(text)}" ${reason}`);
  if (!URL.canParse(text)) throw refuse('is not a URL');
  const { protocol, hostname, port, pathname, search, hash, username, password } = new URL(text);
  if (username !== '' || password !== '') {
    throw refuse('holds credentials; the key that all instances get is OPENAI_API_KEY');
  }
  if (pathname !== '/' || search !== '' || hash !== '') {
    throw refuse('has more than scheme, host and port; instances serve at the root');
  }
  const secure = protocol === 'https:';
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  const number = port === '' ? (secure ? 443 : 80) : Number(port);
  return { ...usable({ host, port: number }, text, what), ...(secure ? { secure } : {}) };
}

/** Refuses what no URL could be made of. */
function usable(address: Address, text: string, what: string): Address {
  const url = `http://${formatAddress(address)}`;
  if (/[@?#\\%]/.test(address.host) || !URL.canParse(url)) {
    throw new Fault('INVALID_ARGUMENT', `${what}: "${text}" has no usable host name`);
  }
  return address;
}
