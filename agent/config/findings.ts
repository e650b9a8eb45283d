/** What zod found, in the words of this project: path, rule, nearest key. */
import type { z } from 'zod';
import { nearest } from '../base/nearest.ts';
import type { ConfigSchema } from './schema.ts';
import { isSecretAt, keysAt, type Path, valueAt } from './walk.ts';

export interface Finding {
  readonly path: Path;
  readonly rule: string;
  /** The key that was probably meant. */
  readonly near?: string;
  /** The place to point at is the key, not its value. */
  readonly isAboutKey?: boolean;
  /** There is no value to show, or it may be anything. */
  readonly hidesValue?: boolean;
}

export function findingsOf(issues: readonly z.core.$ZodIssue[], schema: ConfigSchema, written: unknown): Finding[] {
  return issues.flatMap((issue) => findingsOfIssue(issue, schema, written));
}

function findingsOfIssue(issue: z.core.$ZodIssue, schema: ConfigSchema, written: unknown): Finding[] {
  const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
  if (issue.code === 'unrecognized_keys') return unknownKeys(path, issue.keys, schema, written);
  if (valueAt(written, path) === undefined) return [{ path, rule: `is required: ${ruleOf(issue)}`, hidesValue: true }];
  return [{ path, rule: ruleOf(issue) }];
}

function unknownKeys(path: Path, keys: readonly string[], schema: ConfigSchema, written: unknown): Finding[] {
  const known = keysAt(schema, written, path);
  return keys.map((key) => {
    const near = nearest(key, known);
    const finding = { path: [...path, key], rule: 'unknown key', isAboutKey: true, hidesValue: true };
    return near === undefined ? finding : { ...finding, near };
  });
}

const typeWords: Readonly<Record<string, string>> = {
  string: 'text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  object: 'a block of keys',
  array: 'a list',
  record: 'a block of keys',
};

/** A message of ours says "expected …" already; the rest is put into the same form. */
function ruleOf(issue: z.core.$ZodIssue): string {
  if (issue.message.startsWith('expected ')) return issue.message;
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${typeWords[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.map(String).join(' or ')}`;
    case 'invalid_union':
      return `expected ${unionWords(issue)}`;
    case 'too_small':
      return `expected at least ${issue.minimum}${unitOf(issue.origin)}`;
    case 'too_big':
      return `expected at most ${issue.maximum}${unitOf(issue.origin)}`;
    case 'invalid_format':
      return `expected text of the form ${issue.pattern ?? issue.format}`;
    case 'invalid_key':
      return 'expected another key here';
    case 'custom':
    case 'invalid_element':
    case 'not_multiple_of':
    case 'unrecognized_keys':
    default:
      return issue.message;
  }
}

function unionWords(issue: z.core.$ZodIssueInvalidUnion): string {
  const options = 'options' in issue && Array.isArray(issue.options) ? issue.options.map(String) : [];
  return options.length > 0 ? options.join(' or ') : 'another form';
}

function unitOf(origin: string): string {
  const units: Readonly<Record<string, string>> = { string: ' characters', array: ' entries' };
  return units[origin] ?? '';
}

/** Longest value repeated in a message. */
const shownCharsMax = 60;

/** Names of keys whose values are shown to nobody, wherever they stand. */
const secretKey = /pass|secret|token|credential|private|^key$|^site$/i;

/** The value as it stands in the file, on one line; a secret, and what looks like one, is hidden. */
export function shown(schema: ConfigSchema, written: unknown, path: Path): string {
  const value = valueAt(written, path);
  if (isSecretAt(schema, written, path) || path.some((key) => secretKey.test(String(key)))) return '(hidden)';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'a block of keys';
  const text = JSON.stringify(value) ?? 'nothing';
  if (/-----BEGIN|AGE-SECRET-KEY|:\/\/[^/\s]*@/i.test(text)) return '(hidden)';
  return text.length <= shownCharsMax ? text : `${text.slice(0, shownCharsMax)}…`;
}

/** `sources[0].listen` */
export function pathText(path: Path): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('');
  return text.replace(/^\./, '') || 'the file';
}
