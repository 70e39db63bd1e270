import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { Ending, HttpService, runServices, type Service } from '../src/index.ts';

function recorded(
  name: string,
  log: string[],
  fail: 'start' | 'stop' | null = null,
): Service & { ending: Ending } {
  const ending = new Ending();
  return {
    name,
    ending,
    async start() {
      if (fail === 'start') throw new Error(`${name} cannot start`);
      log.push(`start ${name}`);
    },
    ended: () => ending.promise,
    async stop() {
      log.push(`stop ${name}`);
      if (fail === 'stop') throw new Error(`${name} is stubborn`);
    },
  };
}

const never = () => new AbortController().signal;

describe('runServices', () => {
  it('stops what it started, newest first, when told to', async () => {
    const log: string[] = [];
    const until = new AbortController();
    const running = runServices([recorded('a', log), recorded('b', log)], {
      until: until.signal,
      stopDeadline: never,
      onReady: () => {
        log.push('ready');
        until.abort();
      },
    });
    await running;
    expect(log).toEqual(['start a', 'start b', 'ready', 'stop b', 'stop a']);
  });

  it('stops what runs when a later service cannot start', async () => {
    const log: string[] = [];
    const running = runServices([recorded('a', log), recorded('b', log, 'start')], {
      until: never(),
      stopDeadline: never,
    });
    await expect(running).rejects.toThrow('b cannot start');
    expect(log).toEqual(['start a', 'stop a']);
  });

  it('stops the others when one dies, and reports every failure', async () => {
    const log: string[] = [];
    const dying = recorded('a', log);
    const running = runServices([dying, recorded('b', log, 'stop')], {
      until: never(),
      stopDeadline: never,
      onReady: () => dying.ending.died(new Error('a died')),
    });
    await expect(running).rejects.toMatchObject({
      errors: [{ message: 'a died' }, { message: 'b is stubborn' }],
    });
    expect(log).toEqual(['start a', 'start b', 'stop b', 'stop a']);
  });
});

describe('HttpService', () => {
  it('says which port is taken and which option helps', async () => {
    const holder = createServer();
    const port = await new Promise<number>((resolve) => {
      holder.listen(0, '127.0.0.1', () => resolve((holder.address() as { port: number }).port));
    });
    const service = new HttpService({
      name: 'proxy',
      host: '127.0.0.1',
      port,
      listener: (_, response) => response.end(),
    });
    await expect(service.start()).rejects.toMatchObject({
      code: 'MISCONFIGURED',
      message: expect.stringMatching(new RegExp(`proxy: port ${port} .* --port`)),
    });
    holder.close();
  });

  it('finishes an answer that is under way before it stops', async () => {
    const asked = new Ending();
    let finish: () => void = () => {};
    const service = new HttpService({
      name: 'slow',
      host: '127.0.0.1',
      port: 0,
      listener: (_, response) => {
        finish = () => response.end('whole');
        asked.stopped();
      },
    });
    await service.start();
    const answer = fetch(`http://127.0.0.1:${service.port}/`).then((reply) => reply.text());
    await asked.promise;

    const stopped = service.stop(never());
    finish();

    expect(await answer).toBe('whole');
    await stopped;
  });
});
