import { join } from 'node:path';
import { fileOfSources, installPackages } from './packages.ts';

const version = '0.33.0';
const path = 'examples/disaggregated/disaggregated_serving/disagg_proxy_demo.py';

/** What starts vLLM's `disagg_proxy_demo.py`, but for its arguments: the published file, in a venv with what it imports. */
export async function demoCommand(): Promise<string[]> {
  const venv = installPackages(`demo-${version}`, [
    ...['fastapi==0.165.0', 'uvicorn==0.54.0', 'uvloop==0.23.0', 'httptools==0.9.0'],
    ...['aiohttp==3.14.5', 'requests==2.34.2'],
  ]);
  return [join(venv, 'bin', 'python'), await fileOfSources('vllm', version, path)];
}
