import type { Processes } from '../e2e/processes.ts';
import { sized } from '../e2e/processes.ts';
import type { Master } from './masters.ts';
import { address, bytes, config, PythonClient, pattern } from './python-client.ts';
import { installWheel } from './wheel.ts';

/** One call of the Python class and what came back, with all that differs by chance taken out. */
export type TranscriptLine = readonly [call: string, answer: unknown];

const sizes = [1, 100, 4_096, 65_536, 1 << 20, ...sized({ smoke: [], full: [16 << 20, 64 << 20] })];
const segmentByteCount = 256 << 20;

/**
 * Plays one script of calls against a master with two clients, both with segments, and writes down
 * every answer: the same script against two masters must read the same.
 */
export async function writeTranscript(
  processes: Processes,
  master: Master,
): Promise<TranscriptLine[]> {
  const lines: TranscriptLine[] = [];
  const [one, two] = [
    new PythonClient(processes, installWheel()),
    new PythonClient(processes, installWheel()),
  ];
  const said = async (client: PythonClient, call: string, ...args: unknown[]) => {
    const answer = await client.store(call, ...args).catch((error: Error) => ({
      raised: error.message.split('\n')[0],
    }));
    lines.push([
      `${client === one ? 'one' : 'two'}.${call}(${JSON.stringify(args).slice(0, 120)})`,
      blurred(answer),
    ]);
    return answer;
  };
  /** Creates a task and follows it to its end. */
  const task = async (name: string, call: string, ...args: unknown[]) => {
    const [id, code] = await one.store<[unknown, number]>(call, ...args);
    lines.push([`${name}: ${call}`, code]);
    for (let round = 0; code === 0 && round < 50; round++) {
      const [state] = await one.store<[{ status: string } | null]>('query_task', id);
      if (state !== null && /SUCCESS|FAILED/.test(state.status)) {
        lines.push([`${name}: ended`, state]);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  const place = { metadata: master.metadata, master: master.address, bufferByteCount: 128 << 20 };
  lines.push([
    'one.setup',
    await one.setup({ ...place, name: '127.0.0.1:12311', segmentByteCount }),
  ]);
  lines.push([
    'two.setup',
    await two.setup({ ...place, name: '127.0.0.1:12312', segmentByteCount }),
  ]);

  await said(one, 'health_check');
  await said(one, 'get_hostname');
  for (const size of sizes) {
    await said(one, 'put', `size-${size}`, pattern(size, size));
    await said(two, 'get', `size-${size}`);
    await said(two, 'get_size', `size-${size}`);
    await said(two, 'is_exist', `size-${size}`);
  }

  // Errors that a caller can provoke.
  await said(one, 'put', 'empty', bytes(''));
  await said(one, 'put', '', bytes('x'));
  await said(one, 'put', 'size-1', bytes('again'));
  await said(one, 'get', 'nobody');
  await said(one, 'get_size', 'nobody');
  await said(one, 'is_exist', 'nobody');
  await said(one, 'remove', 'nobody');
  await said(one, 'remove', 'size-1');
  await said(one, 'remove', 'size-1', true);
  await said(one, 'is_exist', 'size-1');
  await said(one, 'remove_by_regex', '(');
  await said(one, 'get_replica_desc', 'nobody');
  await said(one, 'put', 'too-large', pattern(1, 200 << 20));

  // Parts, batches and buffers of the caller.
  await said(one, 'put_parts', 'parts', bytes('one '), bytes('and '), bytes('two'));
  await said(two, 'get', 'parts');
  await said(two, 'get_buffer', 'parts');
  await said(one, 'put_batch', ['batch-1', 'batch-2'], [bytes('first'), bytes('second')]);
  await said(one, 'put_batch', ['batch-2', 'batch-3'], [bytes('changed'), bytes('third')]);
  await said(one, 'put_batch', ['batch-4'], [bytes('a'), bytes('b')]);
  await said(two, 'get_batch', ['batch-1', 'batch-2', 'nobody', 'batch-3']);
  await said(two, 'batch_get_buffer', ['batch-1', 'nobody']);
  await said(two, 'batch_is_exist', ['batch-1', 'nobody', '']);
  for (const client of [one, two]) {
    await client.worker('allocate', 4 << 20);
    await said(client, 'register_buffer', address(0), 4 << 20);
  }
  await one.worker('fill', 0, 0, pattern(7, 1 << 20));
  await said(one, 'put_from', 'from', address(0), 1 << 20);
  await said(two, 'get_into', 'from', address(0), 1 << 20);
  lines.push(['two.peek', await two.worker('peek', 0, 0, 1 << 20)]);
  await said(two, 'get_into', 'from', address(0), 10);
  await said(two, 'get_into', 'nobody', address(0), 10);
  await said(
    one,
    'batch_put_from',
    ['from-1', 'from-2'],
    [address(0), address(0, 5_000)],
    [5_000, 70_000],
  );
  await said(
    two,
    'batch_get_into',
    ['from-1', 'nobody', 'from-2'],
    [address(0), address(0, 1 << 20), address(0, 2 << 20)],
    [5_000, 10, 70_000],
  );
  lines.push(['two.peek', await two.worker('peek', 0, 2 << 20, 70_000)]);
  await said(one, 'put_from', 'unregistered', address(0, 100), 100);
  await said(one, 'register_buffer', address(0), 4 << 20);
  await said(one, 'unregister_buffer', address(0));
  await said(one, 'unregister_buffer', address(0));

  // Writing over.
  await said(one, 'upsert', 'up', bytes('first'));
  await said(two, 'get', 'up');
  await said(one, 'upsert', 'up', bytes('other'));
  await said(two, 'get', 'up');
  await said(two, 'upsert', 'up', bytes('of another length'));
  await said(one, 'get', 'up');
  await said(one, 'upsert_parts', 'up', bytes('in '), bytes('parts'));
  await said(one, 'get', 'up');
  await said(one, 'upsert_batch', ['up', 'up-2'], [bytes('b1'), bytes('b2')]);
  await said(two, 'get_batch', ['up', 'up-2']);
  await said(one, 'upsert_from', 'up', address(0), 300);
  await said(two, 'get', 'up');
  await said(one, 'batch_upsert_from', ['up', 'up-2'], [address(0), address(0, 9)], [30, 40]);
  await said(two, 'get_batch', ['up', 'up-2']);

  // Replicas, pins and places.
  await said(one, 'put', 'two-copies', pattern(3, 9_000), config({ replica_num: 2 }));
  lines.push(['two-copies', sorted(await one.worker('descriptors', 'two-copies'))]);
  await said(two, 'get', 'two-copies');
  await said(one, 'put', 'five-copies', pattern(3, 9_000), config({ replica_num: 5 }));
  lines.push(['five-copies', sorted(await one.worker('descriptors', 'five-copies'))]);
  for (const segment of ['127.0.0.1:12311', '127.0.0.1:12312', 'nowhere:1']) {
    await said(one, 'put', `at-${segment}`, bytes('x'), config({ preferred_segment: segment }));
  }
  lines.push(['at', blurred(await one.worker('descriptors', 'at-127.0.0.1:12312'))]);
  await said(one, 'put', 'hard', bytes('x'), config({ with_hard_pin: true }));
  await said(one, 'put', 'none', bytes('x'), config({ replica_num: 0 }));
  await said(one, 'put', 'same', bytes('x'), config({ prefer_alloc_in_same_node: true }));
  await said(one, 'batch_replica_clear', ['at-127.0.0.1:12311'], '127.0.0.1:12311');

  // Several buffers for one object, ranges of objects, sessions.
  await one.worker('fill', 0, 0, pattern(8, 200_000));
  await said(one, 'register_buffer', address(0), 4 << 20);
  await said(
    ...[one, 'batch_put_from_multi_buffers', ['multi-1', 'multi-2']],
    [[address(0), address(0, 1_000)], [address(0, 5_000)]],
    [[1_000, 2_000], [3_000]],
  );
  await said(two, 'get_batch', ['multi-1', 'multi-2']);
  await said(
    ...[two, 'batch_get_into_multi_buffers', ['multi-1', 'nobody']],
    [[address(0), address(0, 2_500)], [address(0, 9_000)]],
    [[2_500, 500], [10]],
  );
  lines.push(['two.peek', await two.worker('peek', 0, 0, 3_000)]);
  await said(
    one,
    'put_from_with_metadata',
    'with-metadata',
    address(0),
    address(0, 100),
    5_000,
    64,
  );
  await said(two, 'get_size', 'with-metadata');
  await said(
    ...[two, 'get_into_ranges', [address(0)], [['multi-1', 'nobody']]],
    ...[[[[0, 500], [900]]], [[[10, 200], [0]]], [[[100, 50], [10]]]],
  );
  lines.push(['two.peek', await two.worker('peek', 0, 0, 600)]);
  await said(one, 'batch_put_session_start', ['session-1', 'session-2'], [100, 200]);
  await said(two, 'is_exist', 'session-1');
  await said(two, 'get_size', 'session-1');
  await said(two, 'remove', 'session-1', true);
  await said(two, 'put', 'session-1', bytes('at the same time'));
  await said(one, 'batch_put_session_revoke', ['session-1']);
  await said(one, 'batch_put_session_end', ['session-2']);
  await said(two, 'batch_is_exist', ['session-1', 'session-2']);
  await said(two, 'batch_get_session_start', ['session-2', 'nobody']);
  await said(two, 'batch_get_session_end', ['session-2']);

  // Pins, groups and kinds of data.
  await said(one, 'put', 'grouped', bytes('x'), config({ group_ids: ['a'] }));
  await said(one, 'put', 'grouped-2', bytes('x'), config({ group_ids: ['a', 'b'] }));
  await said(one, 'put', 'no-device', bytes('x'), config({ nof_replica_num: 1 }));
  await said(one, 'put', 'no-share', bytes('x'), config({ dfs_replica_num: 1 }));
  await said(one, 'put', 'soft', bytes('x'), config({ soft_pin_ttl_ms: 10 }));

  // Tasks, which clients with a segment perform themselves.
  await said(one, 'query_task', [1, 1]);
  await said(one, 'create_copy_task', 'nobody', ['127.0.0.1:12312']);
  await said(one, 'create_move_task', 'nobody', '127.0.0.1:12311', '127.0.0.1:12312');
  await said(one, 'create_copy_task', 'at-127.0.0.1:12312', ['nowhere:1']);
  await said(one, 'create_copy_task', 'at-127.0.0.1:12312', []);
  await task('copied', 'create_copy_task', 'at-127.0.0.1:12312', ['127.0.0.1:12311']);
  lines.push(['copied', sorted(await one.worker('descriptors', 'at-127.0.0.1:12312'))]);
  await said(
    one,
    'put',
    'to-move',
    bytes('moves'),
    config({ preferred_segment: '127.0.0.1:12312' }),
  );
  await task('moved', 'create_move_task', 'to-move', '127.0.0.1:12312', '127.0.0.1:12311');
  lines.push(['moved', sorted(await one.worker('descriptors', 'to-move'))]);
  await said(two, 'get', 'to-move');

  // Segments that come and go at run time.
  const mounted = (await said(one, 'allocate_and_mount_segment', 16 << 20)) as {
    segment_ids?: string[];
  };
  await said(one, 'unmount_and_free_segment', ['1-1']);
  lines.push(['unmounted', await one.store('unmount_and_free_segment', mounted.segment_ids ?? [])]);
  await said(one, 'unmount_local_disk_segment');

  // Removal.
  await said(one, 'put_batch', ['gone-1', 'gone-2', 'kept'], [bytes('1'), bytes('2'), bytes('3')]);
  await said(one, 'remove_by_regex', '^gone-');
  await said(one, 'batch_is_exist', ['gone-1', 'gone-2', 'kept']);
  await said(one, 'batch_remove', ['kept', 'nobody']);
  await said(one, 'batch_remove', ['kept', 'nobody'], true);
  await said(one, 'remove_all', true);
  await said(one, 'batch_is_exist', ['up', 'size-100', 'two-copies']);

  // An end, and the other one goes on.
  await said(one, 'put', 'last', bytes('x'), config({ preferred_segment: '127.0.0.1:12312' }));
  await said(one, 'close');
  await said(two, 'get', 'last');
  await said(two, 'put', 'alone', bytes('y'));
  await said(two, 'get', 'alone');
  await said(two, 'close');
  return lines;
}

const varying = new Set(['address', 'segment_ids']);

/** Addresses and ids of tasks differ from run to run; where a copy lies first does too. */
function blurred(answer: unknown): unknown {
  if (Array.isArray(answer)) return answer.map(blurred);
  if (answer === null || typeof answer !== 'object') return answer;
  return Object.fromEntries(
    Object.entries(answer).map(([name, value]) => [
      name,
      varying.has(name) ? 'some' : blurred(value),
    ]),
  );
}

function sorted(descriptors: unknown): unknown {
  return (blurred(descriptors) as { endpoint: string }[]).toSorted((a, b) =>
    a.endpoint.localeCompare(b.endpoint),
  );
}
