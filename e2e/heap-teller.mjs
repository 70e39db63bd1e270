/**
 * Loaded into a process before its own program (`NODE_OPTIONS=--import=…`): on SIGUSR2 it collects garbage and
 * writes into the file that HEAP_FILE names how many bytes are left, of objects and of buffers.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');
const path = process.env['HEAP_FILE'];
process.on('SIGUSR2', () => {
  // What the first collection hands to finalizers is gone with the second.
  for (let round = 0; round < 2; round += 1) collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  writeFileSync(`${path}.part`, String(heapUsed + external));
  renameSync(`${path}.part`, path);
});
