/**
 * A scripted instance as a process of its own, so that `kill -9` is real: its options are the argument, as
 * JSON; each line of standard input is the fate of requests from then on, and is answered with how many met
 * the one before.
 */
import { createInterface } from 'node:readline';
import { type Fate, ScriptedInstance, type ScriptedInstanceOptions } from '@tsukimi/proxy/testing';

const tokenMs = 4;

const options = JSON.parse(process.argv[2] ?? '{}') as ScriptedInstanceOptions;
const instance = await new ScriptedInstance({ ...options, keepsRequests: false }).start();
setInterval(() => {
  instance.hold = new Promise((resolve) => setTimeout(resolve, tokenMs));
}, tokenMs);
let metCount = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const fate = JSON.parse(line) as Fate;
  process.stdout.write(`${metCount}\n`);
  metCount = 0;
  instance.fate = () => {
    metCount += 1;
    return fate;
  };
}
process.exit(0);
