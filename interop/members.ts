import { fileURLToPath } from 'node:url';
import { freePorts, type Processes } from '../e2e/processes.ts';
import type { Master } from './masters.ts';
import { PythonClient, pattern } from './python-client.ts';
import { installWheel } from './wheel.ts';
import { Worker } from './worker.ts';

const ownWorkerPath = fileURLToPath(new URL('own-worker.ts', import.meta.url));
const rootPath = fileURLToPath(new URL('..', import.meta.url));

export type MemberKind = 'real' | 'own';

/** A store client in a process of its own, real or ours, which can be killed and stopped. */
export interface Member {
  readonly worker: Worker;
  /** 0, or an error's number. */
  put(key: string, seed: number, byteCount: number): Promise<number>;
  /** As `answered` of the bytes; null when nothing came. */
  get(key: string): Promise<object | null>;
  /** 1, 0, or an error's number. */
  exist(key: string): Promise<number>;
  close(): Promise<unknown>;
}

export async function startMember(
  kind: MemberKind,
  processes: Processes,
  master: Master,
  segmentByteCount: number,
): Promise<Member> {
  const name = `127.0.0.1:${await freePorts(1)}`;
  const setup = { name, metadata: master.metadata, master: master.address, segmentByteCount };
  const member = kind === 'real' ? realMember(processes) : ownMember(processes);
  const code = await member.setup(setup);
  if (code !== 0) throw new Error(`setup: ${code}\n${member.worker.started.log()}`);
  return member;
}

type Unset = Member & { setup(setup: object): Promise<number> };

function realMember(processes: Processes): Unset {
  const python = new PythonClient(processes, installWheel());
  return {
    worker: python,
    setup: (setup) => python.setup(setup as Parameters<PythonClient['setup']>[0]),
    put: (key, seed, byteCount) => python.store('put', key, pattern(seed, byteCount)),
    get: async (key) => {
      const read = await python.store<{ $bytes?: string }>('get', key);
      return read.$bytes === '' ? null : read;
    },
    exist: (key) => python.store('is_exist', key),
    close: () => python.store('close'),
  };
}

function ownMember(processes: Processes): Unset {
  const command = [process.execPath, '--import', 'tsx', ownWorkerPath];
  const worker = new Worker(
    processes.startCommand('own-client', command, { pipes: true, cwd: rootPath }),
  );
  const call = <T>(name: string, ...args: unknown[]) => worker.call<T>('store', name, args);
  return {
    worker,
    setup: (setup) => call('setup', setup),
    put: (key, seed, byteCount) => call('put', key, seed, byteCount),
    get: (key) => call('get', key),
    exist: (key) => call('exist', key),
    close: () => call('close'),
  };
}
