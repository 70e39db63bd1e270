import { afterAll, describe, expect, it } from 'vitest';
import { FaultBench, type InstanceScript, type Outcome } from './fault-bench.ts';
import { freePorts, sized, untilReady } from './processes.ts';

const clientCount = 64;
const eachCount = sized({ smoke: 6, full: 40 });

/** Ours, and one that looks as vLLM does: its streams go on by token ids. */
const engines: Readonly<Record<'ours' | 'vllm', InstanceScript>> = {
  ours: { gapMs: 3 },
  vllm: { gapMs: 3, ours: false },
};
type Engine = keyof typeof engines;

/** Short, so that what hangs is left within seconds. */
const impatient = ['--gap-ms', '1500', '--first-byte-ms', '3000', '--probe-ms', '500'];

interface Row {
  readonly name: string;
  readonly prefill?: InstanceScript;
  readonly decode?: InstanceScript;
  readonly argv?: readonly string[];
  /** Every second request, unless said otherwise. */
  readonly streams?: 'never';
  readonly fault?: (bench: FaultBench, good: InstanceScript) => void | Promise<void>;
}

const answers = (fate: object): InstanceScript => ({ fate });
const both = (name: string, script: InstanceScript): Row[] => [
  { name: `prefill ${name}`, prefill: script },
  { name: `decode ${name}`, decode: script },
];
const breaks = (how: string, event?: string, frameCount = 3) =>
  answers({ kind: 'break', frameCount, byteCount: 20, how, event });
const body = (value: unknown) =>
  answers({ kind: 'body', text: typeof value === 'string' ? value : JSON.stringify(value) });

/** How engines tell of an error within a stream. */
const errorEvents = {
  "OpenAI's": 'data: {"error":{"message":"scripted","code":500}}\n\n',
  'an event called error': 'event: error\ndata: {"message":"scripted"}\n\n',
  'an object called error': 'data: {"object":"error","message":"scripted","code":500}\n\n',
  'one without a space': 'data:{"error":{"message":"scripted"}}\n\n',
  'one with CRLF': 'data: {"error": {"message": "scripted"}}\r\n\r\n',
};
const error = { message: 'scripted', type: 'InternalServerError', code: 500 };

const rows: readonly Row[] = [
  { name: 'prefill: kill -9', fault: (bench) => bench.kill('prefill') },
  { name: 'decode: kill -9', fault: (bench) => bench.kill('decode') },
  { name: 'prefill stops and never answers', fault: (bench) => bench.stop('prefill') },
  { name: 'decode stops and never answers', fault: (bench) => bench.stop('decode') },
  ...both('never answers, though its probes are well', answers({ kind: 'hang' })),
  {
    name: 'decode never answers, and others are tried beside it',
    decode: answers({ kind: 'hang' }),
    argv: ['--hedge-ms', '200'],
  },
  ...both('answers 500', answers({ kind: 'status', status: 500 })),
  ...both('answers 503', answers({ kind: 'status', status: 503 })),
  ...both('answers garbage', answers({ kind: 'garbage' })),
  ...both('answers half', answers({ kind: 'half' })),
  ...both('ends an answer of no length early', answers({ kind: 'half', how: 'end' })),
  ...both('answers 200 with what is no JSON', body('<html>Bad Gateway</html>')),
  ...both('answers 200 with nothing', body('')),
  ...both('answers 200 with an error', body({ error })),
  ...both('answers 200 with an object called error', body({ object: 'error', ...error })),
  ...[401, 404, 408, 429].flatMap((status) =>
    both(`answers ${status}`, answers({ kind: 'status', status })),
  ),
  ...both('sends nothing but comments', answers({ kind: 'pings' })),
  {
    name: 'decode never answers what is not streamed',
    decode: answers({ kind: 'hang' }),
    streams: 'never',
  },
  {
    name: 'decode never answers what is not streamed, and others are tried beside it',
    decode: answers({ kind: 'hang' }),
    streams: 'never',
    argv: ['--hedge-ms', '200'],
  },
  { name: 'decode aborts', decode: breaks('abort-event') },
  { name: 'decode aborts at once', decode: breaks('abort-event', undefined, 0) },
  ...Object.entries(errorEvents).flatMap(([name, event]) => [
    {
      name: `decode tells of an error at once: ${name}`,
      decode: breaks('error-event', event, 0),
    },
    { name: `decode tells of an error: ${name}`, decode: breaks('error-event', event) },
  ]),
  { name: 'decode cuts its streams', decode: breaks('reset') },
  { name: 'decode ends its streams early', decode: breaks('end') },
  { name: 'decode lets its streams stall', decode: breaks('stall') },
  {
    name: 'prefill comes back as another engine',
    fault: (bench, good) => bench.restart('prefill', { ...good, fingerprint: 'beef', model: 'x' }),
  },
  {
    name: 'decode comes back as another engine',
    fault: (bench, good) => bench.restart('decode', { ...good, fingerprint: 'beef', model: 'x' }),
  },
  {
    name: 'all prefill gone',
    fault: (bench) => {
      bench.kill('prefill', 0);
      bench.kill('prefill', 1);
    },
  },
  {
    name: 'all decode gone',
    fault: (bench) => {
      bench.kill('decode', 0);
      bench.kill('decode', 1);
    },
  },
];

const table: string[] = [];
const note = (name: string, { requests, failures, longestMs }: Outcome) =>
  table.push(`${name}: ${failures.length} of ${requests} failed, longest ${longestMs} ms`);

afterAll(() => {
  process.stdout.write(`${table.join('\n')}\n`);
});

describe.each(Object.keys(engines) as Engine[])('%s', (engine) => {
  const good: InstanceScript = engines[engine];

  it.each(rows)(
    '$name: no request fails',
    async ({ name, prefill, decode, argv, streams, fault }) => {
      await using bench = await FaultBench.start({
        prefill: [{ ...good, ...prefill }, good],
        decode: [{ ...good, ...decode }, good],
        argv: [...impatient, ...(argv ?? [])],
      });
      const outcome = await bench.load(clientCount, eachCount, {
        fault: () => fault?.(bench, good),
        ...(streams === undefined ? {} : { streams }),
      });
      note(`${engine}, ${name}`, outcome);
      // What nobody met proves nothing.
      if (fault !== undefined) expect(await bench.retryCount()).toBeGreaterThan(0);
      if (prefill !== undefined) expect(await bench.metCount('prefill')).toBeGreaterThan(0);
      if (decode !== undefined) expect(await bench.metCount('decode')).toBeGreaterThan(0);
      expect(outcome.failures).toEqual([]);
      expect(outcome.longestMs).toBeLessThan(30_000);
    },
  );
});

describe('the master of a store that vLLM shares', () => {
  it('can die, and no request fails', async () => {
    const [port, http] = [await freePorts(1), await freePorts(1)];
    await using bench = await FaultBench.start({
      prefill: [engines.vllm, engines.vllm],
      decode: [engines.vllm, engines.vllm],
      argv: [...impatient, '--master-server-address', `127.0.0.1:${port}`, '--handover-ms', '300'],
    });
    const master = bench.processes.start([
      ...['master', '--rpc-port', String(port), '--metrics-port', String(http)],
    ]);
    await untilReady(`http://127.0.0.1:${http}/health`, master);
    const outcome = await bench.load(clientCount, eachCount, {
      fault: () => {
        master.child.kill('SIGKILL');
      },
    });
    note('vllm, master: kill -9', outcome);
    expect(outcome.failures).toEqual([]);
    expect(outcome.longestMs).toBeLessThan(30_000);
  });
});
