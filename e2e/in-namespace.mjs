// Runs inside a network namespace: waits for URLs, posts requests, reads metrics; a JSON job in, a JSON report out.
import { readFileSync } from 'node:fs';

const job = JSON.parse(readFileSync(0, 'utf8'));
const deadline = Date.now() + 40_000;
async function until(what, check) {
  for (;;) {
    try {
      if (await check()) return;
    } catch {
      // Not up yet.
    }
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
for (const url of job.waitFor) await until(url, async () => (await fetch(url)).ok);
await until('the proxy to know every instance', async () => {
  const { instances } = await (await fetch(`${job.url}/status`)).json();
  return instances.every(({ state }) => state === 'up');
});
const answers = [];
let next = 0;
const worker = async () => {
  while (next < job.bodies.length) {
    const index = next++;
    const answer = await fetch(`${job.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(job.bodies[index]),
    });
    answers[index] = { status: answer.status, body: await answer.json() };
  }
};
await Promise.all(Array.from({ length: job.width }, worker));
const metrics = [];
for (const url of job.metrics) metrics.push(await (await fetch(url)).text());
process.stdout.write(JSON.stringify({ answers, metrics }));
