/**
 * Reads the configuration: YAML to a frozen `Config`, or all that is wrong with it at once, each problem with its
 * place in the file. Reading touches nothing; applying is a second step, so that a bad file leaves the running
 * connector as it was.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { z } from 'zod';
import { type Document, isCollection, isMap, isNode, LineCounter, parseDocument, visit } from 'yaml';
import { ConnectorError, reasonOf } from '../model/errors.ts';
import { acrossFields } from './across.ts';
import { type Finding, findingsOf, pathText, shown } from './findings.ts';
import { type Config, type ConfigSchema, configSchema } from './schema.ts';
import { mapOptions } from './walk.ts';

/** A configuration of a hundred sources is 60 kB. */
const fileBytesMax = 1024 * 1024;

/**
 * @throws ConnectorError CONFIG_UNREADABLE - no such file, no permission, too large.
 * @throws ConnectorError CONFIG_INVALID - with every problem.
 */
export function loadConfig(path: string): Config {
  return parseConfig(readConfigText(path), path);
}

/** @throws ConnectorError CONFIG_UNREADABLE */
export function readConfigText(path: string): string {
  try {
    if (statSync(path).size <= fileBytesMax) return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ConnectorError('CONFIG_UNREADABLE', { file: path, reason: reasonOf(cause) }, { cause });
  }
  throw new ConnectorError('CONFIG_UNREADABLE', { file: path, reason: `it is larger than ${fileBytesMax} bytes` });
}

/** What identifies a configuration in health reports, also one that was refused. */
export function configHash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/**
 * The same from a text; `path` is where it lies, for messages and relative paths.
 *
 * @throws ConnectorError CONFIG_INVALID
 */
export function parseConfig(text: string, path: string, schema: ConfigSchema = configSchema): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0)
    throw invalid(
      path,
      document.errors.map((error) => yamlProblem(error, path, lines)),
    );
  const aliases = aliasProblems(document, path, lines);
  if (aliases.length > 0) throw invalid(path, aliases);
  const written: unknown = document.toJS() ?? {};
  const parsed = schema.safeParse(written);
  const findings = [
    ...(parsed.error ? findingsOf(parsed.error.issues, schema, written) : []),
    ...acrossFields(schema, parsed.success ? parsed.data : written),
  ];
  if (findings.length === 0 && parsed.success) return finish(schema, parsed.data, { text, path });
  const placed = findings.map((finding) => ({ finding, place: placeOf(document, finding) }));
  placed.sort((a, b) => a.place - b.place);
  throw invalid(
    path,
    placed.map(({ finding, place }) => `${at(path, lines, place)} ${problemText(finding, schema, written)}`),
  );
}

/** A block may not stand for another: a mistake would have two places, and one that holds itself has no end. */
function aliasProblems(document: Document, path: string, lines: LineCounter): string[] {
  const problems: string[] = [];
  visit(document, {
    Alias: (_key, alias) => {
      problems.push(`${at(path, lines, startOf(alias) ?? 0)} an alias (*name) is not read here; write the block out`);
    },
  });
  return problems;
}

function finish(schema: ConfigSchema, options: z.output<ConfigSchema>, from: { text: string; path: string }): Config {
  const file = resolve(from.path);
  const absolute = mapOptions(schema, options, (trait, value) =>
    trait === 'path' && typeof value === 'string' ? resolve(dirname(file), value) : value,
  ) as Config;
  const folder = absolute.register.folder ?? join(absolute.state, 'register');
  return deepFreeze({ ...absolute, register: { ...absolute.register, folder }, file, hash: configHash(from.text) });
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) deepFreeze(part);
  return Object.freeze(value);
}

/** More than these are one mistake that breaks everything after it. */
const problemsShownMax = 50;

function invalid(path: string, all: readonly string[]): ConnectorError {
  const more = all.length > problemsShownMax ? [`and ${all.length - problemsShownMax} more`] : [];
  const problems = [...all.slice(0, problemsShownMax), ...more].join('\n');
  return new ConnectorError('CONFIG_INVALID', { file: path, count: all.length, problems });
}

/** Only the rule: what the library says after the first colon is text of the file, which may be a secret. */
function yamlProblem(error: { message: string; pos: [number, number] }, path: string, lines: LineCounter): string {
  return `${at(path, lines, error.pos[0])} not YAML: ${error.message.replace(/:.*$/s, '')}`;
}

function at(path: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${basename(path)}:${line}:${col}`;
}

function problemText({ path, rule, near, hidesValue }: Finding, schema: ConfigSchema, written: unknown): string {
  const value = hidesValue ? '' : `, got ${shown(schema, written, path)}`;
  return `${pathText(path)}: ${rule}${value}${near === undefined ? '' : ` (nearest key: ${near})`}`;
}

/** Offset of the value, of the key where the key is what is wrong, or of the nearest thing around it that exists. */
function placeOf(document: Document, finding: Finding): number {
  let node: unknown = document.contents;
  let place = startOf(node) ?? 0;
  for (const [depth, key] of finding.path.entries()) {
    if (!isCollection(node)) break;
    const isKeyMeant = finding.isAboutKey === true && depth === finding.path.length - 1;
    const pair = isMap(node) ? node.items.find((item) => String(item.key) === String(key)) : undefined;
    node = isKeyMeant ? pair?.key : node.get(key, true);
    const start = startOf(node) ?? startOf(pair?.key);
    if (start === undefined) break;
    place = start;
  }
  return place;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}
