/** `npm run bench [-- NAME …]`: one JSON line for each result. */
import { fileURLToPath } from 'node:url';

const names = ['master', 'store', 'store-peers', 'disk', 'decode', 'proxy'] as const;
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !names.some((known) => known === name));
if (unknown.length > 0) {
  process.stderr.write(`unknown benchmark ${unknown.join(', ')}; there are ${names.join(', ')}\n`);
  process.exit(1);
}
for (const name of asked.length > 0 ? asked : names) {
  const file = name === 'proxy' ? 'proxy/run' : name;
  const path = fileURLToPath(new URL(`./${file}.ts`, import.meta.url));
  const benchmark = (await import(path)) as {
    run(): Promise<object | object[]> | AsyncIterable<object>;
  };
  const results = benchmark.run();
  // What takes minutes tells each result as it comes.
  const lines = Symbol.asyncIterator in results ? results : [await results].flat();
  for await (const line of lines) process.stdout.write(`${JSON.stringify(line)}\n`);
}
// Sockets that a benchmark keeps alive must not keep this process.
process.exit();
