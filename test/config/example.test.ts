import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { exampleYaml, exampleYamlPath } from '../../agent/config/example-yaml.ts';
import { loadConfig, parseConfig } from '../../agent/config/load.ts';
import { schemaJson, schemaJsonPath } from '../../agent/config/schema-json.ts';

const text = readFileSync(exampleYamlPath, 'utf8');

interface JsonSchema {
  readonly description?: string;
  readonly const?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

const schema = JSON.parse(schemaJson()) as JsonSchema;

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

/** By kind, the options without a default: what only the hospital can know, or chooses. */
const withoutDefault: Readonly<Record<string, string[]>> = Object.fromEntries(
  (schema.properties?.['sources']?.items?.oneOf ?? []).map(({ properties = {} }) => [
    properties['kind']?.const,
    Object.keys(properties).filter((key) => properties[key]?.default === undefined),
  ]),
);

const options = optionsOf(schema);

describe('config/connector.example.yaml', () => {
  it('is current: `npm run docs` writes it again', () => {
    expect(text).toBe(exampleYaml());
  });

  it('loads', () => {
    expect(loadConfig(exampleYamlPath).facility.code).toBe('1312345670');
  });

  it('shows every option, active or commented out', () => {
    const missing = options.filter(({ path }) => !new RegExp(`(^|[\\s{,#-])${path.at(-1)}:`, 'm').test(text));
    expect(missing.map(({ path }) => path.join('.'))).toEqual([]);
    expect(options.length).toBeGreaterThan(40);
  });

  it('shows the defaults: without the options that have one, it means the same', () => {
    const shown = loadConfig(exampleYamlPath);
    const written = parse(text) as { sources: Record<string, unknown>[]; producers: Record<string, unknown>[] };
    const pick = (entry: Record<string, unknown> | undefined, keys: string[]) =>
      Object.fromEntries(keys.map((key) => [key, entry?.[key]]));
    const required = {
      ...pick(written, ['facility', 'state', 'keys']),
      sources: written.sources.map((source) => pick(source, withoutDefault[String(source['kind'])] ?? [])),
      producers: [pick(written.producers[0], ['name', 'basis', 'url', 'recipients', 'receiptKeys', 'tls'])],
    };
    const { hash: _shownHash, ...expected } = shown;
    expect(parseConfig(JSON.stringify(required), exampleYamlPath)).toMatchObject(expected);
  });

  it('stays valid when its commented lines become active', () => {
    const active = text
      .replace('# recovery: { recipient: age1… }', `recovery: { recipient: age1${'q'.repeat(58)} }`)
      .replaceAll(/^( *)# ((?:idleTimeout|tls|proxy|schedule|pad|succeeds|bufferBytes):.*)$/gm, '$1$2')
      .replaceAll(/^( *)#( {3}(?:cert|key|ca|requireClientCert|minVersion|url|username|password): .*)$/gm, '$1 $2');
    const config = parseConfig(active, exampleYamlPath);
    expect(config.producers[0]?.proxy?.username).toBe('kakehashi');
    expect(config.sources[0]).toMatchObject({ kind: 'hl7v2', tls: { minVersion: 'TLSv1.3' } });
    expect(config.limits.bufferBytes).toBe(500 * 2 ** 30);
  });
});

describe('config/connector.schema.json', () => {
  it('is current: `npm run docs` writes it again', () => {
    expect(readFileSync(schemaJsonPath, 'utf8')).toBe(schemaJson());
  });

  it('describes every option', () => {
    expect(options.filter(({ schema }) => !schema.description).map(({ path }) => path.join('.'))).toEqual([]);
  });
});
