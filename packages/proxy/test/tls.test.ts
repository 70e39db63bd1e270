import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { loadOptions, SeededRandom, SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { assembleProxy, proxyOptions } from '../src/index.ts';
import { ScriptedInstance, scriptedText } from '../src/testing.ts';

/** A certificate of its own authority, for 127.0.0.1. */
function certificate(name: string) {
  const directory = mkdtempSync(join(tmpdir(), 'tsukimi-tls-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-days', '2', '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'],
      ...['-keyout', key, '-out', cert],
    ],
    { stdio: 'ignore' },
  );
  return { key, cert };
}

async function startProxy(argv: readonly string[]) {
  const logged: object[] = [];
  const proxy = await assembleProxy(
    loadOptions(proxyOptions, {
      argv: ['--model', 'tsukimi-demo', '--host', '127.0.0.1', '--port', '0', ...argv],
      env: {},
    }),
    {
      clock: new SystemClock(),
      random: new SeededRandom(1),
      logger: { ...silentLogger, error: (event, fields) => logged.push({ event, ...fields }) },
      env: {},
      print: () => {},
    },
  );
  onTestFinished(async () => {
    const services = [...proxy.services].reverse();
    for (const service of services) await service.stop(AbortSignal.abort());
  });
  for (const service of proxy.services) await service.start();
  return { proxy, logged };
}

async function instances() {
  const both = await Promise.all([1, 2].map(() => new ScriptedInstance().start()));
  onTestFinished(async () => void (await Promise.all(both.map((one) => one.kill()))));
  const [prefill, decode] = both as [ScriptedInstance, ScriptedInstance];
  return ['--prefill', prefill.address, '--decode', decode.address];
}

function post(port: number, caFile: string, body: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, method: 'POST', path: '/v1/completions' };
    const headers = { 'content-type': 'application/json' };
    httpsRequest({ ...options, headers, ca: readFileSync(caFile), agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => resolve(text));
    })
      .on('error', reject)
      .end(JSON.stringify({ model: 'tsukimi-demo', prompt: 'Hi', max_tokens: 3, ...body }));
  });
}

/** Whose certificate is shown, or why there was no handshake. */
function shownName(port: number, maxVersion: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3') {
  return new Promise<string>((resolve) => {
    const versions = { minVersion: 'TLSv1', maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...versions });
    socket.on('error', (error) => resolve(`refused: ${error.message}`));
    socket.on('secureConnect', () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
  });
}

describe('a proxy with a certificate', () => {
  it('serves answers and streams over TLS 1.2 and later', async () => {
    const { key, cert } = certificate('moon');
    const argv = [...(await instances()), '--ssl-keyfile', key, '--ssl-certfile', cert];
    const { port } = (await startProxy(argv)).proxy.entrance;
    const whole = JSON.parse(await post(port, cert, {}));
    expect(whole.choices[0].text).toBe(scriptedText('"Hi"', 3));
    expect(await post(port, cert, { stream: true })).toMatch(/^data: [\s\S]*data: \[DONE\]\n\n$/);
    expect(await shownName(port, 'TLSv1.2')).toBe('moon');
    expect(await shownName(port, 'TLSv1.1')).toMatch(/^refused: /);
    await expect(fetch(`http://127.0.0.1:${port}/health`)).rejects.toThrow();
  });

  it('shows the new one once its files change, and the old one while they are no pair', async () => {
    const [old, other] = [certificate('old'), certificate('new')];
    const argv = ['--ssl-keyfile', old.key, '--ssl-certfile', old.cert];
    const { proxy, logged } = await startProxy(argv);
    const { port } = proxy.entrance;
    cpSync(other.cert, old.cert);
    await eventually(() => logged.length > 0, 'a word on the pair', 5_000);
    expect(logged[0]).toMatchObject({
      event: 'proxy.certificate_unusable',
      reason: expect.stringMatching(/cert\.pem with .*key\.pem: .*mismatch/),
    });
    expect(await shownName(port)).toBe('old');
    cpSync(other.key, old.key);
    await expect.poll(() => shownName(port), { timeout: 5_000 }).toBe('new');
    expect(logged).toHaveLength(1);
  });

  it('does not start with half a pair, with no pair, or without a file', async () => {
    const [one, other] = [certificate('one'), certificate('other')];
    await expect(startProxy(['--ssl-keyfile', one.key])).rejects.toThrow(
      '--ssl-keyfile needs --ssl-certfile beside it',
    );
    const pair = (key: string, cert: string) =>
      startProxy(['--ssl-keyfile', key, '--ssl-certfile', cert]);
    await expect(pair(one.key, other.cert)).rejects.toThrow(/mismatch/);
    await expect(pair(one.key, `${one.cert}.gone`)).rejects.toThrow(/ENOENT/);
  });
});

describe('instances behind TLS', () => {
  async function secureInstance(key: string, cert: string) {
    const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) });
    server.on('request', (request, response) => {
      const data = [{ id: 'tsukimi-demo', object: 'model' }];
      response.writeHead(request.url?.startsWith('/tsukimi') === true ? 404 : 200);
      response.end(JSON.stringify({ object: 'list', data }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  it('are used when their authority is named, and else refused with the reason', async () => {
    const { key, cert } = certificate('instance');
    const url = await secureInstance(key, cert);
    const trusting = await startProxy(['--decode', url, '--ssl-ca-certs', cert]);
    expect(trusting.proxy.pool.instances[0]?.state.name).toBe('up');
    for (const argv of [[], ['--ssl-ca-certs', certificate('stranger').cert]]) {
      const { proxy } = await startProxy(['--decode', url, ...argv]);
      expect(proxy.pool.instances[0]?.state).toMatchObject({
        reason: expect.stringMatching(/^its certificate is not trusted: self-signed certificate/),
      });
    }
  });

  it('cannot be vouched for by a file without certificates', async () => {
    const { cert } = certificate('broken');
    writeFileSync(cert, 'no certificate');
    await expect(startProxy(['--ssl-ca-certs', cert])).rejects.toThrow(
      /^--ssl-ca-certs .*cert\.pem: /,
    );
  });
});
