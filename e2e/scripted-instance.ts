/**
 * A scripted instance as a process of its own, so that `kill -9` is real: its options are the argument, as
 * JSON, with `fate` as the fate of all requests; each line of standard input is their fate from then on, and
 * is answered with how many met the one before.
 */
import { createInterface } from 'node:readline';
import { type Fate, ScriptedInstance, type ScriptedInstanceOptions } from '@tsukimi/proxy/testing';

const given = JSON.parse(process.argv[2] ?? '{}') as Omit<ScriptedInstanceOptions, 'fate'> & {
  readonly fate?: Fate;
};
const { fate: first = { kind: 'serve' }, ...options } = given;
let metCount = 0;
const always = (fate: Fate) => () => {
  metCount += 1;
  return fate;
};
const instance = await new ScriptedInstance({
  ...options,
  keepsRequests: false,
  fate: always(first),
}).start();
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${metCount}\n`);
  metCount = 0;
  instance.fate = always(JSON.parse(line) as Fate);
}
process.exit(0);
