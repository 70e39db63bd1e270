import { type Address, Fault, formatAddress, parseAddress, withoutPassword } from '@tsukimi/base';
import { type PdHint, type PdProtocolName, pdProtocolNames } from '../core/pd-facts.ts';
import type { Endpoint } from '../core/pool-instance.ts';

/** Ports of one `@` range. */
const rangeLengthMax = 1_024;
const withBootstrapPort: readonly PdProtocolName[] = ['mooncake', 'sglang'];
const withKvPort: readonly PdProtocolName[] = ['p2p_nccl', 'nixl_push'];

/**
 * Reads where one or several instances listen: `host:port`, `[v6]:port`, `http://host:port`,
 * `https://host`, and `host@8100-8107` or `host@8100` for ports in a row; before each may stand how they
 * hand over, `mooncake+host:port`, and with which port, `mooncake:8999+host:port`. `what` names the
 * option or field in the fault, which is INVALID_ARGUMENT.
 */
export function parseEndpoints(text: string, what: string): Endpoint[] {
  const given = text.trim();
  const said = /^([a-z]\w*)(?::(\d{1,5}))?\+(.+)$/.exec(given);
  if (said === null) return parsePlaces(given, what);
  const [, name, port, places = ''] = said;
  const pd = parseHint(name, port, `${what}: "${given}"`);
  return parsePlaces(places, what).map((endpoint) => ({ ...endpoint, pd }));
}

function parseHint(name: string | undefined, port: string | undefined, what: string): PdHint {
  const refuse = (reason: string) => new Fault('INVALID_ARGUMENT', `${what} ${reason}`);
  const protocol = pdProtocolNames.find((one) => one === name);
  if (protocol === undefined) {
    throw refuse(`begins with no protocol; those are ${pdProtocolNames.join(', ')}`);
  }
  if (port === undefined) {
    if (protocol === 'p2p_nccl') throw refuse('lacks the ZMQ port: p2p_nccl:PORT+host:port');
    return { protocol };
  }
  const number = Number(port);
  if (number < 1 || number > 65_535) throw refuse('has a port that is not between 1 and 65535');
  if (withBootstrapPort.includes(protocol)) return { protocol, bootstrapPort: number };
  if (withKvPort.includes(protocol)) return { protocol, kvPort: number };
  throw refuse(`gives a port to ${protocol}, which has none`);
}

function parsePlaces(given: string, what: string): Endpoint[] {
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
  if (/[@?#\\%+]/.test(address.host) || !URL.canParse(url)) {
    throw new Fault('INVALID_ARGUMENT', `${what}: "${text}" has no usable host name`);
  }
  return address;
}
