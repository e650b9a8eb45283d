/**
 * docs/adding-a-source.md, followed to the letter in a copy of this repository: what it says to write is written where
 * it says, what it says to run is run, and a note goes all the way to the producer.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type * as hospitals from '../peers/hospital/hospital.ts';
import { read, repositoryFiles, root } from '../source-files.ts';
import { blocksOf, walk } from './walkthrough.ts';

const page = read('docs/adding-a-source.md');
const files = [...page.matchAll(/^<!-- file: (\S+) -->\n```\w+\n([\s\S]*?)^```$/gm)].map(
  ([, path = '', text = '']) => ({
    path,
    text,
  }),
);
const [, patch = ''] = /^<!-- patch -->\n```diff\n([\s\S]*?)^```$/m.exec(page) ?? [];

const copy = mkdtempSync(join(tmpdir(), 'kakehashi-adding-'));
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** Types of the whole tree, a test run of its own, and a hospital with its producer: a quarter of a minute alone. */
const slowMsMax = 300_000;

const patient = '0000012345';
const note = Buffer.from('所見: 異常なし\r\n');

describe('a kind of source added as the page says', () => {
  beforeAll(() => {
    for (const path of repositoryFiles()) cpSync(join(root, path), join(copy, path));
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
    for (const { path, text } of files) {
      mkdirSync(dirname(join(copy, path)), { recursive: true });
      writeFileSync(join(copy, path), text, { flag: 'wx' });
    }
    execFileSync('git', ['apply', '-'], { cwd: copy, input: patch });
  });

  it(
    'passes every command of the page: generated files, types, conformance, layers',
    async () => {
      const blocks = blocksOf(page);
      const ran = await walk(blocks, copy);
      expect(ran.map(({ script, exitCode, output }) => (exitCode === 0 ? 'done' : `${script}\n${output}`))).toEqual(
        blocks.map(() => 'done'),
      );
      expect(stripVTControlCharacters(ran.at(-1)?.output ?? '')).toMatch(/Tests\s+\d+ passed/);
    },
    slowMsMax,
  );

  it('is formatted like everything else', () => {
    const biome = join(root, 'node_modules', '.bin', 'biome');
    const changed = files.map(({ path }) => path).filter((path) => path.endsWith('.ts'));
    expect(() => execFileSync(biome, ['format', ...changed], { cwd: copy, stdio: 'pipe' })).not.toThrow();
  });

  it('needs no third place: of what was there, the registry changes, and what is generated from it', () => {
    expect(files.map(({ path }) => path).filter((path) => !/^(agent|test)\/source\/notes\//.test(path))).toEqual([]);
    const changed = repositoryFiles().filter(
      (path) => !readFileSync(join(root, path)).equals(readFileSync(join(copy, path))),
    );
    expect(changed).toEqual([
      'agent/source/registry.ts',
      'config/connector.example.yaml',
      'config/connector.schema.json',
    ]);
    for (const option of ['stableFor', 'maxNote']) {
      expect(readFileSync(join(copy, 'config/connector.example.yaml'), 'utf8')).toMatch(
        new RegExp(`^ {4}${option}:`, 'm'),
      );
    }
    expect(readFileSync(join(copy, 'config/connector.schema.json'), 'utf8')).toContain('"A source of kind notes."');
  });

  it(
    "delivers a note, and reports a stranger's file by a code",
    async () => {
      const folder = join(copy, 'first-record', 'notes');
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, `${patient}_20261120_7.txt`), note);
      writeFileSync(join(folder, 'Thumbs.db'), 'not a note');
      const module = (await import(join(copy, 'test/peers/hospital/hospital.ts'))) as typeof hospitals;
      const source = { name: 'notes', kind: 'notes', folder, schedule: module.neverSchedule, stableFor: '0s' };
      const hospital = await module.Hospital.create({ settings: { sources: [source] } });
      try {
        await hospital.startProducer();
        await hospital.writeConfig();
        expect(await hospital.cli('check')).toMatchObject({ code: 0 });
        await hospital.startAgent();
        await hospital.enrol([patient], ['document']);
        await hospital.untilTrusted();
        const pulled = await hospital.cli('pull', 'notes', '--json');
        expect(JSON.parse(pulled.stdout)).toMatchObject({
          notes: { offered: 2, outcomes: { kept: 1, quarantined: 1 } },
        });
        await hospital.ship();
        expect(await hospital.openedDigests()).toEqual([createHash('sha256').update(note).digest('hex')]);
        expect(hospital.said).not.toContain(patient);
      } finally {
        await hospital.close();
      }
    },
    slowMsMax,
  );
});
