/**
 * `config/connector.example.yaml` shows every option. What it shows of a kind of source is in that kind's own folder;
 * run as a script this brings all of them into the file, and a test fails while it is stale.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sourceKinds } from '../source/registry.ts';

export const exampleYamlPath = join(import.meta.dirname, '../../config/connector.example.yaml');

/** From `sources:` to the comment above what comes next. */
const section = /^sources:\n[\s\S]*?(?=^# Where records go)/m;

export function exampleYaml(): string {
  const entries = sourceKinds.map(({ kind }) => {
    const text = readFileSync(join(import.meta.dirname, '../source', kind, 'example.yaml'), 'utf8');
    return text.replaceAll(/^(?=.)/gm, '  ');
  });
  return readFileSync(exampleYamlPath, 'utf8').replace(section, () => `sources:\n${entries.join('\n')}\n`);
}

if (import.meta.main) writeFileSync(exampleYamlPath, exampleYaml());
