/** The first record of README.md, taken as a new user would: in a copy of this repository, in its own folder. */
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { read, repositoryFiles, root } from '../source-files.ts';
import { blocksOf, walk } from './walkthrough.ts';

const copy = mkdtempSync(join(tmpdir(), 'kakehashi-readme-'));
afterAll(() => rmSync(copy, { recursive: true }));

it('takes an HL7 message to an opened receipt, command by command', async () => {
  const needed = repositoryFiles().filter((path) => /^(agent|producer|config)\/|^package\.json$/.test(path));
  for (const path of needed) cpSync(join(root, path), join(copy, path));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const blocks = blocksOf(read('README.md'));
  const ran = await walk(blocks, copy);
  expect(ran.map(({ script, exitCode, output }) => (exitCode === 0 ? 'done' : `${script}\n${output}`))).toEqual(
    blocks.map(() => 'done'),
  );
  const last = ran.findLast(({ kind }) => kind === 'run');
  expect(last?.output).toContain('MSH|^~\\&|');
});
