import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig, parseConfig } from '../../agent/config/load.ts';
import { schemaJson, schemaJsonPath } from '../../agent/config/schema-json.ts';

const examplePath = join(import.meta.dirname, '../../config/connector.example.yaml');
const text = readFileSync(examplePath, 'utf8');

interface JsonSchema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

/** Every option of the schema with the way to it; `{ file: … }` and its like are forms of one value. */
function optionsOf(schema: JsonSchema, path: string[] = []): { path: string[]; schema: JsonSchema }[] {
  const inner = [...(schema.oneOf ?? []), ...(schema.items ? [schema.items] : [])].flatMap((part) =>
    optionsOf(part, path),
  );
  const own = Object.entries(schema.properties ?? {}).flatMap(([key, part]) => [
    { path: [...path, key], schema: part },
    ...optionsOf(part, [...path, key]),
  ]);
  return [...own, ...inner];
}

/** What only the hospital can know of a source, and what the example shows although it has no default. */
const requiredOf: Readonly<Record<string, string[]>> = {
  hl7v2: ['name', 'kind', 'listen'],
  ssmix2: ['name', 'kind', 'roots', 'schedule'],
  fhir: ['name', 'kind', 'url', 'schedule'],
  dicom: ['name', 'kind', 'aeTitle', 'listen', 'query', 'schedule'],
};

const options = optionsOf(JSON.parse(schemaJson()) as JsonSchema);

describe('config/connector.example.yaml', () => {
  it('loads', () => {
    expect(loadConfig(examplePath).facility.code).toBe('1312345670');
  });

  it('shows every option, active or commented out', () => {
    const missing = options.filter(({ path }) => !new RegExp(`(^|[\\s{,#-])${path.at(-1)}:`, 'm').test(text));
    expect(missing.map(({ path }) => path.join('.'))).toEqual([]);
    expect(options.length).toBeGreaterThan(40);
  });

  it('shows the defaults: without the options that have one, it means the same', () => {
    const shown = loadConfig(examplePath);
    const written = parse(text) as { sources: Record<string, unknown>[]; producers: Record<string, unknown>[] };
    const pick = (entry: Record<string, unknown> | undefined, keys: string[]) =>
      Object.fromEntries(keys.map((key) => [key, entry?.[key]]));
    const required = {
      ...pick(written, ['facility', 'state', 'keys']),
      sources: written.sources.map((source) => pick(source, requiredOf[String(source['kind'])] ?? [])),
      producers: [pick(written.producers[0], ['name', 'basis', 'url', 'recipients', 'receiptKeys', 'tls'])],
    };
    const { hash: _shownHash, ...expected } = shown;
    expect(parseConfig(JSON.stringify(required), examplePath)).toMatchObject(expected);
  });

  it('stays valid when its commented lines become active', () => {
    const active = text
      .replace('# recovery: { recipient: age1… }', `recovery: { recipient: age1${'q'.repeat(58)} }`)
      .replaceAll(/^( *)# ((?:idleTimeout|tls|proxy|schedule|pad|succeeds|bufferBytes):.*)$/gm, '$1$2')
      .replaceAll(/^( *)#( {3}(?:cert|key|ca|requireClientCert|minVersion|url|username|password): .*)$/gm, '$1 $2');
    const config = parseConfig(active, examplePath);
    expect(config.producers[0]?.proxy?.username).toBe('kakehashi');
    expect(config.sources[0]).toMatchObject({ kind: 'hl7v2', tls: { minVersion: 'TLSv1.3' } });
    expect(config.limits.bufferBytes).toBe(500 * 2 ** 30);
  });
});

describe('config/connector.schema.json', () => {
  it('is current: `node agent/config/schema-json.ts` writes it again', () => {
    expect(readFileSync(schemaJsonPath, 'utf8')).toBe(schemaJson());
  });

  it('describes every option', () => {
    expect(options.filter(({ schema }) => !schema.description).map(({ path }) => path.join('.'))).toEqual([]);
  });
});
