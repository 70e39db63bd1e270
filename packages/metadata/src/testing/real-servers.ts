import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@tsukimi/base/testing';

/** A server program of Debian's, on free ports, with its data in a folder that goes when it is disposed. */
export class RealServer {
  readonly port: number;
  readonly directory = mkdtempSync(join(tmpdir(), 'tsukimi-metadata-'));
  readonly #command: readonly string[];
  #child: ChildProcess | null = null;

  constructor(port: number, command: (directory: string) => readonly string[]) {
    this.port = port;
    this.#command = command(this.directory);
  }

  async start(): Promise<this> {
    const [program = '', ...args] = this.#command;
    const child = spawn(program, args, { stdio: 'ignore', cwd: this.directory });
    this.#child = child;
    let failure: Error | null = null;
    child.once('error', (error) => {
      failure = error;
    });
    await eventually(() => {
      if (failure !== null) throw failure;
      return child.pid !== undefined && accepts(this.port);
    }, `${program} (Debian: etcd-server, redis-server) to accept connections`);
    return this;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  async dispose(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** With `tls`, for clients with a certificate of the authority alone. */
export async function startEtcd(tls: Certificates | null = null): Promise<RealServer> {
  const [port, peerPort] = [await freePort(), await freePort()];
  const scheme = tls === null ? 'http' : 'https';
  const urls = [`${scheme}://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`];
  return await new RealServer(port, (directory) => [
    'etcd',
    ...['--data-dir', join(directory, 'data'), '--log-level', 'error'],
    ...['--listen-client-urls', urls[0] as string, '--advertise-client-urls', urls[0] as string],
    ...[
      '--listen-peer-urls',
      urls[1] as string,
      '--initial-advertise-peer-urls',
      urls[1] as string,
    ],
    ...['--initial-cluster', `default=${urls[1]}`],
    ...(tls === null
      ? []
      : [
          ...['--cert-file', tls.certificate, '--key-file', tls.key],
          ...['--trusted-ca-file', tls.authority, '--client-cert-auth'],
        ]),
  ]).start();
}

/** Without persistence: a restart has forgotten everything. */
export async function startRedis(...options: readonly string[]): Promise<RealServer> {
  const port = await freePort();
  return await new RealServer(port, () => [
    'redis-server',
    ...['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
    ...options,
  ]).start();
}

/** Paths of PEM files. */
export interface Certificates {
  readonly authority: string;
  /** For 127.0.0.1, good for servers and clients. */
  readonly certificate: string;
  readonly key: string;
}

/** An authority of our own and a certificate of it, in `directory`. */
export function makeCertificates(directory: string): Certificates {
  const [authority, certificate, key] = ['ca.pem', 'cert.pem', 'key.pem'].map((name) =>
    join(directory, name),
  ) as [string, string, string];
  const openssl = (...args: string[]) =>
    execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
  const request = ['req', '-newkey', 'rsa:2048', '-nodes', '-subj'];
  openssl(...request, '/CN=moon', '-x509', '-days', '2', '-keyout', 'ca.key', '-out', authority);
  openssl(...request, '/CN=cake', '-keyout', key, '-out', 'cert.csr');
  writeFileSync(join(directory, 'names'), 'subjectAltName=IP:127.0.0.1');
  openssl(
    ...['x509', '-req', '-in', 'cert.csr', '-CA', authority, '-CAkey', 'ca.key'],
    ...['-CAcreateserial', '-days', '2', '-extfile', 'names', '-out', certificate],
  );
  return { authority, certificate, key };
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}
