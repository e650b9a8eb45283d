import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Hospital } from '../peers/hospital/hospital.ts';

let hospital: Hospital;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kakehashi-cache-'));
  hospital = await Hospital.create();
  await hospital.writeConfig();
});
afterAll(async () => {
  await hospital.close();
  await rm(folder, { recursive: true, force: true });
});

async function environment(): Promise<string[]> {
  return (await readFile(`/proc/${hospital.agent.pid}/environ`, 'utf8')).split('\0');
}

it('gives an agent that is started from source what the launcher gives the installed one', async () => {
  await hospital.startAgent({ env: { NODE_COMPILE_CACHE: undefined } });
  const variables = await environment();
  expect(variables).toContainEqual(expect.stringMatching(/^NODE_COMPILE_CACHE=.*node_modules\/\.cache\/kakehashi$/));
  expect(variables).toContain('MALLOC_ARENA_MAX=2');
  expect(await hospital.agent.stop()).toBe(0);
});

it('leaves alone what the launcher has begun, and there the cache is filled by the time it is ready', async () => {
  await hospital.startAgent({ env: { NODE_COMPILE_CACHE: folder, MALLOC_ARENA_MAX: '7' } });
  expect(await environment()).toContain('MALLOC_ARENA_MAX=7');
  while ((await readdir(folder, { recursive: true })).length < 100) await hospital.status();
  await hospital.agent.kill();
});

it('lets an agent run whose cache cannot be written', async () => {
  await hospital.startAgent({ env: { NODE_COMPILE_CACHE: join(hospital.configFile, 'no-folder') } });
  expect(await hospital.agent.stop()).toBe(0);
});
