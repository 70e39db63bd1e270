import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { SystemClock, silentLogger } from '@tsukimi/base';
import { eventually } from '@tsukimi/base/testing';
import { MetadataServer } from '@tsukimi/metadata';
import { type RealServer, startEtcd } from '@tsukimi/metadata/testing';
import { describe, expect, it } from 'vitest';
import { freePorts, Processes, type Started } from '../e2e/processes.ts';
import { startOwnClient } from './own-client.ts';
import { answered, type PythonClient, pattern, patternBytes } from './python-client.ts';
import { fill, joinedClient, kept, objectCount, Traffic } from './traffic.ts';

interface Member {
  readonly started: Started;
  readonly adminUrl: string;
}

/**
 * Two masters on one journal, with etcd as their board and a metadata server that outlives them. Clients
 * are ended, not closed: a close of theirs waits up to 30 s for a leader to change.
 */
class Pair implements AsyncDisposable {
  readonly processes = new Processes();
  readonly etcd: RealServer;
  readonly #metadata: MetadataServer;
  readonly #flags: readonly string[];
  members: Member[] = [];

  private constructor(etcd: RealServer, metadata: MetadataServer) {
    this.etcd = etcd;
    this.#metadata = metadata;
    this.#flags = [
      `--journal-dir=${mkdtempSync(join(this.processes.directory, 'journal-'))}`,
      ...['--enable_ha=true', `--etcd_endpoints=127.0.0.1:${etcd.port}`, '--cluster_id=pair'],
    ];
  }

  static async start(): Promise<Pair> {
    const metadata = new MetadataServer({
      ...{ host: '127.0.0.1', port: 0, clock: new SystemClock(), logger: silentLogger },
    });
    await metadata.start();
    return new Pair(await startEtcd(), metadata);
  }

  get clusterAddress() {
    return {
      address: `etcd://127.0.0.1:${this.etcd.port}`,
      metadata: `http://127.0.0.1:${this.#metadata.port}/metadata`,
    };
  }

  async add(): Promise<void> {
    const port = await freePorts(2);
    const started = this.processes.start([
      ...['master', '--rpc_address=127.0.0.1', `--rpc_port=${port}`],
      ...[`--metrics_port=${port + 1}`, '--metrics_host=127.0.0.1', ...this.#flags],
    ]);
    const adminUrl = `http://127.0.0.1:${port + 1}`;
    this.members.push({ started, adminUrl });
    await eventually(async () => (await fetch(`${adminUrl}/health`)).ok, 'a master', 30_000);
    await this.leader();
  }

  async leader(): Promise<Member> {
    return await eventually(
      async () => {
        for (const member of this.members) if ((await roleOf(member)) === 'leader') return member;
        return null;
      },
      'a leader',
      30_000,
    );
  }

  async kill(member: Member): Promise<void> {
    this.members = this.members.filter((other) => other !== member);
    member.started.child.kill('SIGKILL');
    await member.started.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.processes[Symbol.asyncDispose]();
    await this.#metadata.stop(AbortSignal.abort());
    await this.etcd.dispose();
  }
}

async function roleOf({ adminUrl }: Member): Promise<string> {
  return await (await fetch(`${adminUrl}/role`)).text();
}

async function inCluster(pair: Pair, port: number, segmentByteCount: number) {
  const env = { MC_STORE_CLUSTER_ID: 'pair' };
  return await joinedClient(pair.processes, pair.clusterAddress, port, segmentByteCount, env);
}

describe('several masters with etcd, under published Python clients that follow the leader', () => {
  it('a killed leader is replaced by the standby, with every object', async () => {
    await using pair = await Pair.start();
    await pair.add();
    await pair.add();
    const holders = [
      await inCluster(pair, 12_321, 64 << 20),
      await inCluster(pair, 12_322, 64 << 20),
    ];
    const reader = await inCluster(pair, 12_323, 0);
    await using own = await startOwnClient({
      ...{
        name: '127.0.0.1:12324',
        segmentByteCount: 64 << 20,
        env: { MC_STORE_CLUSTER_ID: 'pair' },
      },
      ...{ metadata: pair.clusterAddress.metadata, master: pair.clusterAddress.address },
    });
    await fill(holders[0] as PythonClient);
    expect(await own.store.put('own', patternBytes(7, 50_000))).toBe('stored');
    const traffic = new Traffic(holders[1] as PythonClient);
    await eventually(() => traffic.calls > 20, 'traffic');
    const first = await pair.leader();
    await pair.kill(first);
    const killedMs = performance.now();
    const second = await pair.leader();
    const leadsMs = performance.now() - killedMs;
    await eventually(async () => (await kept(reader)) === objectCount, 'all objects', 60_000);
    const allMs = performance.now() - killedMs;
    console.log(
      `standby: leads after ${Math.round(leadsMs)} ms, all ${objectCount} objects after ${Math.round(allMs)} ms; ` +
        `longest call ${Math.round(traffic.longestMs)} ms, ${traffic.failures} of ${traffic.calls} calls failed`,
    );
    await eventually(() => own.store.state === 'serving', 'our client to find the new leader');
    expect((await own.store.get('own', 50_000))?.equals(patternBytes(7, 50_000))).toBe(true);
    expect((await own.store.get('kept-1', 700))?.equals(patternBytes(1, 700))).toBe(true);
    expect(await own.store.put('own-after', patternBytes(8, 5_000))).toBe('stored');
    expect(await reader.store('get', 'own-after')).toEqual(answered(patternBytes(8, 5_000)));
    const calls = traffic.calls;
    await eventually(() => traffic.calls > calls + 20, 'traffic');
    const values = await traffic.end();
    expect(traffic.stale).toBe(0);
    for (const [key, seed] of values) {
      expect(await reader.store('get', key)).toEqual(answered(patternBytes(seed, 4_000)));
    }
    const health = await (await fetch(`${second.adminUrl}/health`)).json();
    expect(health).toMatchObject({ role: 'leader', ha_state: 'serving', service_ready: true });
    const invariants = await fetch(`${second.adminUrl}/debug/invariants`);
    expect(await invariants.json()).toMatchObject({ ok: true });
  });

  it('a leader that hung answers nothing any more once another has taken over', async () => {
    await using pair = await Pair.start();
    await pair.add();
    await pair.add();
    const holder = await inCluster(pair, 12_341, 64 << 20);
    await fill(holder);
    const hung = await pair.leader();
    const view = await (await fetch(`${hung.adminUrl}/leader`)).json();
    const { leader_address: hungAddress } = view as { leader_address: string };
    await using stale = await startOwnClient({
      ...{ name: '127.0.0.1:12342', segmentByteCount: 0, master: hungAddress },
      metadata: pair.clusterAddress.metadata,
    });
    expect(await stale.store.exist(['kept-0'])).toEqual([true]);
    hung.started.child.kill('SIGSTOP');
    pair.members = pair.members.filter((member) => member !== hung);
    const next = await pair.leader();
    await eventually(async () => (await kept(holder)) === objectCount, 'all objects', 60_000);
    expect(await holder.store('put', 'after', pattern(99, 4_000))).toBe(0);
    expect(await holder.store('remove', 'kept-0', true)).toBe(0);
    // What waits in its sockets is the first it sees when it goes on.
    const asked = stale.store.exist(['kept-0', 'after']);
    hung.started.child.kill('SIGCONT');
    expect(await asked).toEqual([null, null]);
    await eventually(async () => (await roleOf(hung)) === 'standby', 'the hung one to follow');
    expect(await roleOf(next)).toBe('leader');
    expect(await holder.store('get', 'after')).toEqual(answered(patternBytes(99, 4_000)));
  });

  it('goes on while etcd is dead, and when it is back', async () => {
    await using pair = await Pair.start();
    await pair.add();
    await pair.add();
    // Room for all that the traffic puts meanwhile: what is evicted would look lost.
    const holder = await inCluster(pair, 12_331, 512 << 20);
    await fill(holder);
    const leader = await pair.leader();
    const traffic = new Traffic(holder);
    await eventually(() => traffic.calls > 20, 'traffic');
    await pair.etcd.kill();
    const deadMs = performance.now();
    // Longer than a lead lasts without etcd's word.
    await eventually(() => performance.now() - deadMs > 8_000, 'time to pass', 20_000);
    expect(await roleOf(leader)).toBe('leader');
    expect(await kept(holder)).toBe(objectCount);
    await pair.etcd.start();
    const backMs = performance.now();
    await eventually(() => performance.now() - backMs > 7_000, 'time to pass', 20_000);
    const values = await traffic.end();
    console.log(
      `etcd dead for 8 s: longest call ${Math.round(traffic.longestMs)} ms, ${traffic.failures} of ${traffic.calls} calls failed`,
    );
    expect(traffic.stale).toBe(0);
    expect(traffic.failures).toBe(0);
    for (const [key, seed] of [...values].slice(-50)) {
      expect(await holder.store('get', key)).toEqual(answered(patternBytes(seed, 4_000)));
    }
    expect((await pair.leader()).adminUrl).toBe(leader.adminUrl);
  });
});
