import { type Address, Fault, formatAddress, withoutPassword } from '@tsukimi/base';

/** Where engines find each other, as the connection string of Mooncake's `metadata_server` says it. */
export type MetadataAddress = P2pAddress | HttpAddress | EtcdAddress | RedisAddress;

/** Peers ask each other's handshake daemon; there is no common table. */
interface P2pAddress {
  readonly kind: 'p2p';
}

interface HttpAddress {
  readonly kind: 'http';
  /** Without a query. */
  readonly url: URL;
}

export interface EtcdAddress {
  readonly kind: 'etcd';
  readonly endpoints: readonly Address[];
  readonly login: Login | null;
  readonly tls: TlsFiles | null;
}

export interface RedisAddress {
  readonly kind: 'redis';
  readonly topology: 'single' | 'sentinel' | 'cluster';
  readonly endpoints: readonly Address[];
  /** What the sentinels call the group of servers; null without sentinels. */
  readonly groupName: string | null;
  readonly login: Login | null;
  readonly tls: boolean;
  readonly database: number;
}

interface Login {
  /** Empty for redis' default user. */
  readonly username: string;
  readonly password: string;
}

/** Paths of PEM files; null takes the system's authorities and no certificate of our own. */
interface TlsFiles {
  readonly authorities: string | null;
  readonly certificate: string | null;
  readonly key: string | null;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const endpointCountMax = 64;
const databaseMax = 255;
const defaultPorts: Readonly<Record<string, number>> = {
  etcd: 2379,
  redis: 6379,
  'redis+cluster': 6379,
  'redis+sentinel': 26_379,
};
const metadataField = 'metadata_server';
const worksThere =
  'use http://host:8080/metadata, etcd://host:2379, redis://host:6379/0 or P2PHANDSHAKE';
const worksElsewhere = 'use host:port, etcd://host:2379 or redis://host:6379/0';

/**
 * Reads Mooncake's connection strings and the forms of its guides: `http(s)://…`, `host:port` and
 * `etcd://a:2379,b:2379` (`;` separates too), `redis://user:pass@host:port/db`, `P2PHANDSHAKE`. Ours are
 * `etcds`, `rediss`, `redis+sentinel://host,host/group/db` and `redis+cluster://host,host`. What a string
 * leaves open comes from the environment: MC_REDIS_USERNAME, MC_REDIS_PASSWORD and MC_REDIS_DB_INDEX as
 * in Mooncake, and etcdctl's ETCDCTL_USER, ETCDCTL_PASSWORD, ETCDCTL_CACERT, ETCDCTL_CERT and ETCDCTL_KEY.
 * Faults name `field`.
 */
export function parseMetadataAddress(
  text: string,
  env: Environment,
  field = metadataField,
): MetadataAddress {
  const trimmed = text.trim();
  const works = field === metadataField ? worksThere : worksElsewhere;
  const refuse = (reason: string) =>
    new Fault('INVALID_ARGUMENT', `${field}: "${withoutPassword(trimmed)}" ${reason}; ${works}`);
  if (trimmed === '') throw refuse('is empty');
  if (trimmed === 'P2PHANDSHAKE') return { kind: 'p2p' };
  const [, scheme = 'etcd', rest = trimmed] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(trimmed) ?? [];
  switch (scheme.toLowerCase()) {
    case 'http':
    case 'https':
      return parseHttp(trimmed, refuse);
    case 'etcd':
    case 'etcds':
      return parseEtcd(scheme.toLowerCase(), rest, env, refuse);
    case 'redis':
    case 'rediss':
    case 'redis+cluster':
    case 'rediss+cluster':
    case 'redis+sentinel':
    case 'rediss+sentinel':
      return parseRedis(scheme.toLowerCase(), rest, env, refuse);
    default:
      throw refuse(`has the unknown scheme ${scheme}`);
  }
}

/** The address as logs and errors may show it: it holds no password. */
export function describeMetadataAddress(address: MetadataAddress): string {
  switch (address.kind) {
    case 'p2p':
      return 'P2PHANDSHAKE';
    case 'http':
      return withoutPassword(address.url.href);
    case 'etcd':
    case 'redis':
      return `${address.kind}://${address.endpoints.map(formatAddress).join(',')}`;
  }
}

type Refuse = (reason: string) => Fault;

function parseHttp(text: string, refuse: Refuse): HttpAddress {
  if (!URL.canParse(text)) throw refuse('is not a URL');
  const url = new URL(text);
  if (url.search !== '' || url.hash !== '') throw refuse('must not have a query or a fragment');
  return { kind: 'http', url };
}

function parseEtcd(scheme: string, rest: string, env: Environment, refuse: Refuse): EtcdAddress {
  const { login, endpoints, path } = splitAuthority(rest, 'etcd', refuse);
  if (path !== '') throw refuse('must end after the endpoints');
  const [username, ...password] = (env['ETCDCTL_USER'] ?? '').split(':');
  const fromEnvironment = {
    username: username ?? '',
    password: env['ETCDCTL_PASSWORD'] ?? password.join(':'),
  };
  const given = login ?? (fromEnvironment.username === '' ? null : fromEnvironment);
  if (given !== null && given.username === '') throw refuse('has a password without a user');
  const tls = {
    authorities: env['ETCDCTL_CACERT'] || null,
    certificate: env['ETCDCTL_CERT'] || null,
    key: env['ETCDCTL_KEY'] || null,
  };
  return { kind: 'etcd', endpoints, login: given, tls: scheme === 'etcds' ? tls : null };
}

function parseRedis(scheme: string, rest: string, env: Environment, refuse: Refuse): RedisAddress {
  const [base, named] = scheme.split('+');
  const variant = named === 'sentinel' || named === 'cluster' ? named : 'single';
  const portScheme = variant === 'single' ? 'redis' : `redis+${variant}`;
  const { login, endpoints, path } = splitAuthority(rest, portScheme, refuse);
  const parts = path === '' ? [] : path.split('/');
  const groupName = variant === 'sentinel' ? (parts.shift() ?? '') : null;
  if (groupName === '') throw refuse("must name the sentinels' group, like …:26379/mymaster");
  if (variant === 'single' && endpoints.length > 1) {
    throw refuse('names several servers: say redis+cluster:// or redis+sentinel://');
  }
  if (parts.length > (variant === 'cluster' ? 0 : 1)) throw refuse('must end after the database');
  const [fromPath] = parts;
  const database = fromPath ?? (variant === 'cluster' ? '0' : env['MC_REDIS_DB_INDEX'] || '0');
  if (!/^\d{1,5}$/.test(database) || Number(database) > databaseMax) {
    const source = fromPath === undefined ? 'MC_REDIS_DB_INDEX' : 'the database';
    throw refuse(
      `cannot be used: ${source} "${database}" is not a number from 0 to ${databaseMax}`,
    );
  }
  const fromEnvironment = {
    username: env['MC_REDIS_USERNAME'] ?? '',
    password: env['MC_REDIS_PASSWORD'] ?? '',
  };
  return {
    kind: 'redis',
    topology: variant,
    endpoints,
    groupName,
    login: login ?? (fromEnvironment.password === '' ? null : fromEnvironment),
    tls: base === 'rediss',
    database: Number(database),
  };
}

function splitAuthority(rest: string, scheme: string, refuse: Refuse) {
  // A password may hold a raw slash, so the last @ comes first.
  const at = rest.lastIndexOf('@');
  const afterLogin = rest.slice(at + 1);
  const slash = afterLogin.indexOf('/');
  const hosts = slash < 0 ? afterLogin : afterLogin.slice(0, slash);
  const path = slash < 0 ? '' : afterLogin.slice(slash + 1).replace(/\/+$/, '');
  const endpoints = hosts
    .split(/[,;]/)
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => parseEndpoint(part, defaultPorts[scheme] as number, refuse));
  if (endpoints.length === 0) throw refuse('names no host');
  if (endpoints.length > endpointCountMax)
    throw refuse(`names more than ${endpointCountMax} hosts`);
  return { login: at < 0 ? null : parseLogin(rest.slice(0, at), refuse), endpoints, path };
}

function parseEndpoint(text: string, defaultPort: number, refuse: Refuse): Address {
  const match = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw refuse(`cannot be used: "${text}" is not host:port`);
  }
  return { host, port };
}

function parseLogin(text: string, refuse: Refuse): Login {
  const colon = text.indexOf(':');
  try {
    return {
      username: decodeURIComponent(colon < 0 ? text : text.slice(0, colon)),
      password: colon < 0 ? '' : decodeURIComponent(text.slice(colon + 1)),
    };
  } catch {
    throw refuse('has a user or password with a broken % sequence');
  }
}
