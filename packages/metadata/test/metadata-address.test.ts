import { describe, expect, it } from 'vitest';
import { describeMetadataAddress, parseMetadataAddress } from '../src/index.ts';

const parse = (text: string, env: Record<string, string> = {}) => parseMetadataAddress(text, env);
const at = (host: string, port: number) => ({ host, port });

describe('parseMetadataAddress', () => {
  it('takes HTTP servers', () => {
    expect(parse('http://h:8080/metadata')).toEqual({
      kind: 'http',
      url: new URL('http://h:8080/metadata'),
    });
    expect(parse(' https://h/metadata ')).toMatchObject({ kind: 'http' });
  });

  it.each([
    ['192.168.0.137:2379', [at('192.168.0.137', 2379)]],
    ['etcd://192.168.0.137:2379', [at('192.168.0.137', 2379)]],
    ['etcd://a:2379,b:2380', [at('a', 2379), at('b', 2380)]],
    ['etcd://a:2379; b:2380;', [at('a', 2379), at('b', 2380)]],
    ['a:1;b', [at('a', 1), at('b', 2379)]],
    ['ETCD://[fe80::1]:1/', [at('fe80::1', 1)]],
  ])('takes %s as etcd', (text, endpoints) => {
    expect(parse(text)).toEqual({ kind: 'etcd', endpoints, login: null, tls: null });
  });

  it('takes etcd with TLS and a user, from the string or from the names of etcdctl', () => {
    expect(parse('etcds://moon:c%40ke@a:2379')).toEqual({
      kind: 'etcd',
      endpoints: [at('a', 2379)],
      login: { username: 'moon', password: 'c@ke' },
      tls: { authorities: null, certificate: null, key: null },
    });
    expect(
      parse('etcds://a', {
        ETCDCTL_USER: 'moon:c:ke',
        ETCDCTL_CACERT: '/ca.pem',
        ETCDCTL_CERT: '/cert.pem',
        ETCDCTL_KEY: '/key.pem',
      }),
    ).toMatchObject({
      login: { username: 'moon', password: 'c:ke' },
      tls: { authorities: '/ca.pem', certificate: '/cert.pem', key: '/key.pem' },
    });
    const split = { ETCDCTL_USER: 'moon', ETCDCTL_PASSWORD: 'cake' };
    expect(parse('a:1', split)).toMatchObject({ login: { username: 'moon', password: 'cake' } });
  });

  it('takes redis with user, database and TLS, what is left open from the names of Mooncake', () => {
    expect(parse('redis://h:6379')).toEqual({
      kind: 'redis',
      topology: 'single',
      endpoints: [at('h', 6379)],
      groupName: null,
      login: null,
      tls: false,
      database: 0,
    });
    expect(parse('rediss://moon:a/b@h/5', { MC_REDIS_DB_INDEX: '7' })).toMatchObject({
      endpoints: [at('h', 6379)],
      login: { username: 'moon', password: 'a/b' },
      tls: true,
      database: 5,
    });
    const env = {
      MC_REDIS_USERNAME: 'moon',
      MC_REDIS_PASSWORD: 'cake',
      MC_REDIS_DB_INDEX: '255',
    };
    expect(parse('redis://h', env)).toMatchObject({
      login: { username: 'moon', password: 'cake' },
      database: 255,
    });
    expect(parse('redis://h', { MC_REDIS_USERNAME: 'moon' })).toMatchObject({ login: null });
  });

  it('takes sentinels and clusters', () => {
    expect(parse('redis+sentinel://:cake@a,b:1/moon/2')).toMatchObject({
      topology: 'sentinel',
      endpoints: [at('a', 26_379), at('b', 1)],
      groupName: 'moon',
      login: { username: '', password: 'cake' },
      database: 2,
    });
    expect(parse('rediss+cluster://a,b', { MC_REDIS_DB_INDEX: '3' })).toMatchObject({
      topology: 'cluster',
      tls: true,
      database: 0,
    });
  });

  it('recognises P2PHANDSHAKE', () => {
    expect(parse('P2PHANDSHAKE')).toEqual({ kind: 'p2p' });
  });

  it.each([
    ['', 'is empty'],
    ['carrier://h:1', 'unknown scheme'],
    ['http://', 'is not a URL'],
    ['http://h/metadata?x', 'query'],
    ['etcd://', 'no host'],
    ['etcd://h:99999', 'not host:port'],
    ['etcd://h:x', 'not host:port'],
    ['etcd://:secret@h:1', 'password without a user'],
    ['etcd://h:1/deep', 'end after the endpoints'],
    ['etcd://a%ZZ:secret@h:1', 'broken %'],
    [`etcd://${Array.from({ length: 65 }, () => 'h:1').join(',')}`, 'more than 64'],
    ['redis://a:1,b:2', 'redis+cluster'],
    ['redis://h/256', 'from 0 to 255'],
    ['redis://h/zero', 'from 0 to 255'],
    ['redis://u:very@secret@h/zero', 'from 0 to 255'],
    ['redis://h/0/1', 'end after the database'],
    ['redis+sentinel://h', 'group'],
    ['redis+cluster://h/1', 'end after the database'],
  ])('refuses %j, says why and what works, and shows no password', (text, reason) => {
    const refuse = () => parse(text);
    expect(refuse).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    expect(refuse).toThrow(/^metadata_server: .*http:\/\/host:8080\/metadata/);
    expect(refuse).toThrow(reason);
    expect(refuse).not.toThrow(/secret/);
  });

  it('names another field that holds such an address, and what works there', () => {
    const refuse = () => parseMetadataAddress('etcd://', {}, 'master_server_address');
    expect(refuse).toThrow(
      /^master_server_address: "etcd:\/\/" names no host; use host:port, etcd/,
    );
    expect(refuse).not.toThrow(/P2PHANDSHAKE/);
  });

  it('names the variable that cannot be read', () => {
    expect(() => parse('redis://h', { MC_REDIS_DB_INDEX: 'x' })).toThrow('MC_REDIS_DB_INDEX');
  });
});

describe('describeMetadataAddress', () => {
  it.each([
    ['http://u:secret@h:1/metadata', 'http://***@h:1/metadata'],
    ['etcd://u:secret@a:1,[::1]:2', 'etcd://a:1,[::1]:2'],
    ['redis://u:secret@a:1/4', 'redis://a:1'],
    ['P2PHANDSHAKE', 'P2PHANDSHAKE'],
  ])('shows %s as %s', (text, shown) => {
    expect(describeMetadataAddress(parse(text))).toBe(shown);
  });
});
